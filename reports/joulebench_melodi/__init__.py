"""MELODI: the published method's columns, tables and analysis."""

from __future__ import annotations

JOULEBENCH_API = 1
