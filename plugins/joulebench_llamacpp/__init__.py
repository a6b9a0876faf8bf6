"""llama.cpp: the backend ``llamacpp``."""

from __future__ import annotations

JOULEBENCH_API = 1
