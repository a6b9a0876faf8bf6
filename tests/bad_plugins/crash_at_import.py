"""Cannot be imported."""

from __future__ import annotations

raise OSError("no driver of version 7")
