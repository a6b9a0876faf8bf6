"""The engine as a compiled library, driven from C++."""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path
from typing import Any, ClassVar, Final

from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.rtlsim.packing import PackedProduct, Results
from joulebench_plugins.fpga.rtlsim.running import GemvEngine

_OUTCOMES: Final = {
    1: "the engine did not come to its end",
    2: "the engine did not give one result for each row and group",
}


class _Job(ctypes.Structure):
    """``struct Job`` of driver.cc."""

    _fields_: ClassVar = [
        ("weights", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("multipliers", ctypes.c_void_p),
        ("shifts", ctypes.c_void_p),
        ("accumulators", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("expected", ctypes.c_uint64),
        ("limit_cycles", ctypes.c_uint64),
        ("rows", ctypes.c_uint32),
        ("row_beats", ctypes.c_uint32),
        ("group_beats", ctypes.c_uint32),
        ("beats_num", ctypes.c_uint32),
        ("beats_den", ctypes.c_uint32),
        ("cycles", ctypes.c_uint32),
        ("stalls", ctypes.c_uint32),
    ]


class RtlEngine(GemvEngine):
    """An engine whose RTL was compiled to ``library``.

    It is not reset between products, as hardware would not be. One product at a time.
    """

    def __init__(self, engine: Engine, library: Path, simulator: str) -> None:
        super().__init__(engine)
        self.library = library
        #: ``cxxrtl`` or ``verilator``.
        self.simulator = simulator
        loaded = ctypes.CDLL(str(library))
        loaded.gemv_new.restype = ctypes.c_void_p
        loaded.gemv_new.argtypes = []
        loaded.gemv_delete.restype = None
        loaded.gemv_delete.argtypes = [ctypes.c_void_p]
        loaded.gemv_run.restype = ctypes.c_int
        loaded.gemv_run.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Job)]
        self._run = loaded.gemv_run
        self._handle = loaded.gemv_new()
        weakref.finalize(self, loaded.gemv_delete, self._handle)

    def run(self, job: PackedProduct) -> Results:
        """One product, from the first activation to the last result, in one call of C++."""
        import numpy as np

        expected = job.rows * job.groups
        accumulators = np.zeros(expected, np.int32)
        outputs = np.zeros(expected, np.int8)
        passed = _Job(
            weights=job.weights.ctypes.data,
            x=job.x.ctypes.data,
            multipliers=_address(job.multipliers),
            shifts=_address(job.shifts),
            accumulators=accumulators.ctypes.data,
            outputs=outputs.ctypes.data,
            expected=expected,
            limit_cycles=job.limit_cycles,
            rows=job.rows,
            row_beats=job.row_beats,
            group_beats=job.group_beats,
            beats_num=job.beats_num,
            beats_den=job.beats_den,
        )
        outcome = self._run(self._handle, ctypes.byref(passed))
        if outcome:
            raise RuntimeError(_OUTCOMES[outcome])
        return Results(accumulators, outputs, passed.cycles, passed.stalls)


def _address(array: Any | None) -> int | None:
    return None if array is None else int(array.ctypes.data)
