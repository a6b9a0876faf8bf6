"""What the processor keeps near itself, and how large an array must be to lie beyond it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

#: Documentation/ABI/testing/sysfs-devices-system-cpu of the Linux kernel, "cache/index".
_CPUS: Final = Path("/sys/devices/system/cpu")
_MEMINFO: Final = Path("/proc/meminfo")
_SIZE: Final = re.compile(r"(\d+)([KMG]?)")
_FACTORS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}

#: STREAM's rule: each array at least four times the size of all last-level caches together
#: (J. D. McCalpin, https://www.cs.virginia.edu/stream/ref.html, "Array size").
CACHES_IN_AN_ARRAY: Final = 4
#: Least default size: what caches of accelerators and of processors that tell nothing hold.
_LEAST_BYTES: Final = 256 * 2**20
#: Of the memory that is free, at most so much for an array: there are up to three, and a model.
_MOST_OF_MEMORY: Final = 1 / 8


def last_level_cache_bytes(cpus: Path = _CPUS) -> int | None:
    """Bytes of the last-level caches of the processors that this process may use, together.

    ``None`` where the kernel does not tell. In a virtual machine it is what the hypervisor tells.
    """
    sizes: dict[tuple[int, str], int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        for index in sorted((cpus / f"cpu{cpu}" / "cache").glob("index[0-9]*")):
            try:
                kind, level, size, shared = (
                    (index / name).read_text(encoding="ascii").strip()
                    for name in ("type", "level", "size", "shared_cpu_list")
                )
            except (OSError, ValueError):
                continue
            if kind != "Instruction" and (match := _SIZE.fullmatch(size)):
                sizes[int(level), shared] = int(match[1]) * _FACTORS[match[2]]
    last = max((level for level, _ in sizes), default=0)
    return sum(size for (level, _), size in sizes.items() if level == last) or None


def cache_fact() -> dict[str, float]:
    """``cache_bytes`` for a request's values, where the kernel tells."""
    cache_bytes = last_level_cache_bytes()
    return {} if cache_bytes is None else {"cache_bytes": float(cache_bytes)}


def memory_available_bytes(file: Path = _MEMINFO) -> int | None:
    """Memory that can be had without swapping; ``None`` where the kernel does not tell."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", file.read_text(encoding="ascii"), re.M)
    except OSError:
        return None
    return None if match is None else int(match[1]) * 1024


def array_bytes(cache_bytes: int | None, memory_bytes: int | None) -> int:
    """The default size of an array: beyond the caches, if the memory has room for it."""
    size_bytes = max(_LEAST_BYTES, CACHES_IN_AN_ARRAY * (cache_bytes or 0))
    if memory_bytes is None:
        return size_bytes
    return min(size_bytes, int(memory_bytes * _MOST_OF_MEMORY))


def too_small(size_bytes: int, cache_bytes: int | None) -> bool:
    """Whether an array of this size would be served by the cache alone."""
    return cache_bytes is not None and size_bytes < cache_bytes
