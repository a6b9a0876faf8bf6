"""What a run of the engine takes and gives, whatever simulates it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from joulebench_plugins.fpga.arithmetic import Array
from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.rtlsim.packing import PackedProduct, Results, pack_job


@dataclass(frozen=True, slots=True)
class GemvRun:
    """What came out of one product, and what the engine's own counters say.

    ``accumulators`` is int32, (rows,) or (rows, groups); ``outputs`` is int8, (rows,), or ``None``
    where nothing was requantized.
    """

    accumulators: Array
    outputs: Array | None
    cycles: int
    stalls: int


class GemvEngine(ABC):
    """An engine that products can be given to, one after the other, as its hardware would be."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def gemv(
        self,
        weights: Array,
        x: Array,
        *,
        multiplier: Array | int | None = None,
        shift: Array | int | None = None,
        beats_num: int = 1,
        beats_den: int = 1,
        group: int = 0,
    ) -> GemvRun:
        """``weights`` (rows, columns) times ``x`` (columns,), both int8, through the RTL.

        Weights of a 4-bit engine are int8 values of -8 … 7. ``multiplier`` (0 … 65,535) and
        ``shift`` (1 … 47), for all rows or one for each, requantize. Memory grants ``beats_num``
        beats in ``beats_den`` cycles. With ``group`` there is an accumulator for each group of
        columns, and no requantizing. Raises ``ValueError`` for what the engine has no wires for,
        :class:`~joulebench.errors.ProfileError` for rows that are too long for it, and
        ``RuntimeError`` where the RTL gives other results than one for each row and group.
        """
        job = pack_job(self.engine, weights, x, multiplier, shift, beats_num, beats_den, group)
        results = self.run(job)
        accumulators = results.accumulators
        if group:
            accumulators = accumulators.reshape(job.rows, -1)
        return GemvRun(
            accumulators=accumulators,
            outputs=results.outputs if job.multipliers is not None else None,
            cycles=results.cycles,
            stalls=results.stalls,
        )

    @abstractmethod
    def run(self, job: PackedProduct) -> Results:
        """Write the activations, stream the weights, collect the results."""
