"""Hardware microbenchmarks and a model's operators, as workloads."""

from __future__ import annotations

JOULEBENCH_API = 1
