"""``bandwidth``: how fast memory can be read, copied and combined, and at what energy."""

from __future__ import annotations

from typing import ClassVar

from joulebench.api import BackendSession, Kernel, Option, Settings
from joulebench.errors import UnavailableError
from joulebench_plugins.hardware import caches
from joulebench_plugins.hardware.repeating import SECONDS, RepeatedKernel


class Bandwidth(RepeatedKernel):
    """Streams over arrays much larger than the caches, by STREAM's rules.

    Read moves one array, copy two, triad three. A write that makes the processor read the line
    first (write-allocate) is not counted twice. J. D. McCalpin, "Memory Bandwidth and Machine
    Balance in Current High Performance Computers", IEEE TCCA Newsletter, December 1995.
    """

    name: ClassVar[str] = "bandwidth"
    summary: ClassVar[str] = "memory bandwidth: read, copy or triad over large arrays"
    unit: ClassVar[str] = "byte"
    requires: ClassVar[frozenset[str]] = frozenset({"hardware"})
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "pattern",
            "str",
            "read",
            "read an array, copy it to another, or triad: a = b + s × c",
            choices=("read", "copy", "triad"),
        ),
        Option(
            "size",
            "bytes",
            None,
            "size of each array; when not set, four times the last-level caches, at least 256 MiB, at "
            "most an eighth of the free memory",
            minimum=4096,
        ),
        SECONDS,
    )

    def __init__(self) -> None:
        super().__init__()
        self._array_bytes = 0

    def check(self, settings: Settings) -> str | None:
        """An array that the caches hold says nothing of memory."""
        cache_bytes = caches.last_level_cache_bytes()
        return _fault(_size(settings, cache_bytes), cache_bytes, chosen="size" in settings)

    def kernel(self, session: BackendSession, settings: Settings) -> Kernel:
        """The stream, its arrays written to once."""
        cache_bytes = caches.last_level_cache_bytes()
        self._array_bytes = size = _size(settings, cache_bytes)
        # Cells that were loaded before this one may have left less memory than the plan saw.
        fault = _fault(size, cache_bytes, chosen="size" in settings)
        if fault is not None:
            raise UnavailableError(fault)
        return session.hardware_kernel(str(settings["pattern"]), size)

    def work(self, kernel: Kernel) -> float:
        """Bytes that a run moves."""
        return float(kernel.bytes_moved or 0)

    def facts(self) -> dict[str, float]:
        """Size of an array beside that of the caches: by the two, a report judges the figure."""
        return {"array_bytes": float(self._array_bytes), **caches.cache_fact()}


def _size(settings: Settings, cache_bytes: int | None) -> int:
    stated = settings.get("size")
    if stated is not None:
        return int(stated)
    return caches.array_bytes(cache_bytes, caches.memory_available_bytes())


def _fault(size: int, cache_bytes: int | None, *, chosen: bool) -> str | None:
    if cache_bytes is None or not caches.too_small(size, cache_bytes):
        return None
    if chosen:
        cure = f"set size to {_mib(caches.CACHES_IN_AN_ARRAY * cache_bytes)} or leave it out"
    else:
        cure = "the free memory has no room for a larger one"
    return (
        f"an array of {_mib(size)} lies in the last-level cache of {_mib(cache_bytes)}, so this "
        f"would not measure memory; {cure}"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
