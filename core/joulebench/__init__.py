"""joulebench: what a small language model costs on a machine, in joules, seconds and bytes."""

from __future__ import annotations

__version__ = "0.1.0"
