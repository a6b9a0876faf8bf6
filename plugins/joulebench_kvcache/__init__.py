"""KV compression: techniques that keep fewer or smaller keys and values."""

from __future__ import annotations

JOULEBENCH_API = 1
