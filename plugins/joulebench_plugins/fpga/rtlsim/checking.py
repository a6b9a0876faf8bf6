"""Holds a run of the RTL to the integer arithmetic and to the cycle law."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench_plugins.fpga.arithmetic import Array, accumulate, accumulate_groups, requantize
from joulebench_plugins.fpga.law import gemv_cycles, stall_cycles
from joulebench_plugins.fpga.rtlsim.running import GemvEngine, GemvRun


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing in which the RTL differs from what it is held to.

    ``what`` is ``run``, ``accumulators``, ``outputs``, ``cycles`` or ``stalls``.
    """

    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}"


def check_gemv(
    rtl: GemvEngine,
    weights: Array,
    x: Array,
    *,
    multiplier: Array | int | None = None,
    shift: Array | int | None = None,
    beats_num: int = 1,
    beats_den: int = 1,
    group: int = 0,
) -> tuple[GemvRun | None, list[Mismatch]]:
    """Run one product and compare it; arguments are those of :meth:`GemvEngine.gemv`.

    An empty list says that every accumulator and output is bit-exact and every count the law's. An
    engine that never ends or gives the wrong number of results is a mismatch too, without a run.
    """
    try:
        run = rtl.gemv(
            weights, x, multiplier=multiplier, shift=shift, beats_num=beats_num, beats_den=beats_den, group=group
        )
    except RuntimeError as error:
        return None, [Mismatch("run", str(error))]
    accumulators = accumulate_groups(weights, x, group) if group else accumulate(weights, x)
    differences = _differences("accumulators", run.accumulators, accumulators)
    if multiplier is not None and shift is not None:
        differences += _differences("outputs", run.outputs, requantize(accumulators, multiplier, shift))
    rows, columns = weights.shape
    shape = (rtl.engine, rows, columns, beats_num, beats_den, group)
    counts = {"cycles": (run.cycles, gemv_cycles(*shape)), "stalls": (run.stalls, stall_cycles(*shape))}
    differences += [
        Mismatch(what, f"the RTL counts {seen:,}, the law says {expected:,}")
        for what, (seen, expected) in counts.items()
        if seen != expected
    ]
    return run, differences


def _differences(what: str, seen: Array, expected: Array) -> list[Mismatch]:
    import numpy as np

    wrong = np.flatnonzero(seen != expected)
    if not wrong.size:
        return []
    first = int(wrong[0])
    return [
        Mismatch(
            what,
            f"{wrong.size} of {expected.size} differ, the first at {first}: the RTL says "
            f"{seen.flat[first]}, the arithmetic {expected.flat[first]}",
        )
    ]
