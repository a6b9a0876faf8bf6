"""Where a process's resident memory lies: anonymous, in files, in the model's own files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: proc(5), /proc/PID/smaps: a mapping's first line is ``from-to mode offset device inode path``.
_MAPPING: Final = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$")
_RESET_PEAK: Final = "5"  # Documentation/filesystems/proc.rst, clear_refs: reset VmHWM
_FIELDS: Final = {
    "VmRSS:": "rss_bytes",
    "VmHWM:": "rss_peak_bytes",
    "RssAnon:": "rss_anon_bytes",
    "RssFile:": "rss_file_bytes",
    "Pss:": "pss_bytes",
}


def _folder(pid: int | None) -> str:
    return f"/proc/{'self' if pid is None else pid}"


def memory_now(pid: int | None = None) -> dict[str, int | None]:
    """Resident memory of a process (this one) in bytes, by kind; null where nobody says."""
    values: dict[str, int | None] = dict.fromkeys(_FIELDS.values())
    for file in ("status", "smaps_rollup"):
        path = f"{_folder(pid)}/{file}"
        with contextlib.suppress(OSError), open(path, encoding="ascii") as lines:  # noqa: PTH123
            for line in lines:
                name = _FIELDS.get(line.split(maxsplit=1)[0])
                if name is not None:
                    values[name] = int(line.split()[1]) * 1024
    return values


def reset_peak(pid: int | None = None) -> None:
    """Begin a new peak of resident memory from what is resident now, where the system lets it."""
    with contextlib.suppress(OSError):
        Path(f"{_folder(pid)}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def trim_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_in_files(places: Sequence[Path], pid: int | None = None) -> int | None:
    """Resident bytes of mappings of these files, or of any file in these folders.

    What a runtime maps (weights) instead of copying. A page that is mapped twice counts twice, as
    it does in the kernel's own RssFile. ``None`` where the system does not say.
    """
    own = {os.path.realpath(place) for place in places}
    folders = tuple(place + os.sep for place in own)
    # In the hub's cache, a model's files are links to where they lie.
    own.update(os.path.realpath(file) for place in places for file in place.glob("*") if file.is_symlink())
    total = 0
    inside = False
    try:
        path = f"{_folder(pid)}/smaps"
        with open(path, encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            for line in lines:
                mapping = _MAPPING.match(line)
                if mapping:
                    path = mapping[1]
                    inside = path in own or path.startswith(folders)
                elif inside and line.startswith("Rss:"):
                    total += int(line.split()[1]) * 1024
    except OSError:
        return None
    return total
