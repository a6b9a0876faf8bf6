"""Small files that the kernel serves, and whatever stands in their place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: No number, name or label of the kernel is longer; a page is the most that sysfs gives.
_MOST_BYTES: Final = 4096


def text_of(path: Path) -> str:
    """The text of a file, at most a page. Raises :class:`OSError`, also for a pipe, which would hang its reader."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.pread(handle, _MOST_BYTES, 0).decode("utf-8", errors="replace")
    finally:
        os.close(handle)


def text_if_any(path: Path) -> str | None:
    """The text without blanks around it; ``None`` where there is none to be read."""
    try:
        return text_of(path).strip() or None
    except OSError:
        return None
