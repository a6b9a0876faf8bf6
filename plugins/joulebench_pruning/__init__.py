"""Pruning: techniques that take weights out of a checkpoint."""

from __future__ import annotations

JOULEBENCH_API = 1
