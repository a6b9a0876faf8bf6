"""Quantization: techniques that store weights in fewer bits."""

from __future__ import annotations

JOULEBENCH_API = 1
