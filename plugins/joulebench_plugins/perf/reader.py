"""Opens an energy event by perf_event_open(2). Standard library only: the sampler imports it."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
import time
from collections.abc import Sequence
from typing import Final

#: System call numbers of perf_event_open (asm/unistd.h); aarch64, riscv64 and loongarch64 share the
#: generic table.
_CALLS: Final = {
    "x86_64": 298,
    "i686": 336,
    "aarch64": 241,
    "riscv64": 241,
    "loongarch64": 241,
    "armv7l": 364,
    "ppc64le": 319,
    "s390x": 331,
}
_FLAG_FD_CLOEXEC: Final = 8  # PERF_FLAG_FD_CLOEXEC, include/uapi/linux/perf_event.h
#: Length of perf_event_attr's first published form (PERF_ATTR_SIZE_VER0); all kernels take it.
_ATTR_BYTES: Final = 64
_PARANOID: Final = "/proc/sys/kernel/perf_event_paranoid"
#: A look sooner than this after the last is given the same figure: over less than some update
#: periods (≈ 1 ms) a difference of counts says nothing.
_SHORTEST_NS: Final = 10_000_000


class _Attributes(ctypes.Structure):
    """The first 64 bytes of ``struct perf_event_attr``; everything but these three is 0."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * (_ATTR_BYTES - 16)),
    )


def open_event(unit_type: int, config: int, cpu: int) -> int:
    """A descriptor that counts the event on one CPU for all processes; raises ``OSError``."""
    number = _CALLS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"perf_event_open is not known on {platform.machine()}")
    attributes = _Attributes(type=unit_type, size=_ATTR_BYTES, config=config)
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.syscall(
        ctypes.c_long(number),
        ctypes.byref(attributes),
        ctypes.c_long(-1),
        ctypes.c_long(cpu),
        ctypes.c_long(-1),
        ctypes.c_ulong(_FLAG_FD_CLOEXEC),
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


def opening_fault(argument: str) -> tuple[str, str | None] | None:
    """Why the event cannot be opened and what would help; ``None`` if it can."""
    unit_type, config, cpu, _ = argument.split(":")
    try:
        os.close(open_event(int(unit_type), int(config), int(cpu)))
    except OSError as error:
        reason = f"perf_event_open: {error.strerror}"
        if error.errno in (errno.EACCES, errno.EPERM):
            return (
                f"{reason} (kernel.perf_event_paranoid is {_paranoid()})",
                "sudo sysctl kernel.perf_event_paranoid=0, or run with the capability "
                "CAP_PERFMON; in a container, a seccomp profile that allows perf_event_open",
            )
        return reason, None
    return None


def _paranoid() -> str:
    try:
        with open(_PARANOID, encoding="ascii") as file:  # noqa: PTH123  the sampler imports this
            return file.read().strip()
    except OSError:
        return "unknown"


class PowerReader:
    """Mean power in µW since the last look, from ``"TYPE:CONFIG:CPU:JOULES_PER_COUNT"``.

    It waits 10 ms when it is made, so that its first look has a stretch of time to tell of.
    """

    def __init__(self, argument: str) -> None:
        unit_type, config, cpu, joules = argument.split(":")
        self._microjoules = float(joules) * 1e6
        self._descriptor = open_event(int(unit_type), int(config), int(cpu))
        self._count = self._read_count()
        self._t_ns = time.perf_counter_ns()
        self._power_uw = 0
        time.sleep(_SHORTEST_NS * 1e-9)
        self.read()

    def _read_count(self) -> int:
        return int.from_bytes(os.read(self._descriptor, 8), sys.byteorder)

    def read(self) -> Sequence[int | None]:
        """The power over the last stretch of time."""
        now = time.perf_counter_ns()
        passed_ns = now - self._t_ns
        if passed_ns >= _SHORTEST_NS:
            count = self._read_count()
            self._power_uw = round((count - self._count) * self._microjoules / (passed_ns * 1e-9))
            self._count, self._t_ns = count, now
        return (self._power_uw,)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)
