"""The engine in Amaranth's own simulator: slow, but without a compiler and with any memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.rtlsim.packing import PackedProduct, Results
from joulebench_plugins.fpga.rtlsim.running import GemvEngine

if TYPE_CHECKING:
    from joulebench_plugins.fpga.engine.gemv import Gemv


def even_grants(job: PackedProduct) -> Iterator[bool]:
    """Whether memory grants a beat in each cycle: evenly, as :mod:`joulebench_plugins.fpga.law` says."""
    for cycle in itertools.count(1):
        before = (cycle - 1) * job.beats_num // job.beats_den
        yield cycle * job.beats_num // job.beats_den > before


class InterpretedEngine(GemvEngine):
    """An engine in Amaranth's simulator, some thousand cycles a second; reset for each product.

    ``design`` is another one with the same ports; ``grants`` another memory.
    """

    def __init__(
        self,
        engine: Engine,
        design: type[Gemv] | None = None,
        grants: Callable[[PackedProduct], Iterator[bool]] = even_grants,
    ) -> None:
        super().__init__(engine)
        self._design = design
        self._grants = grants

    def run(self, job: PackedProduct) -> Results:
        """One product, from the first activation to the last result."""
        import numpy as np
        from amaranth.sim import Simulator

        from joulebench_plugins.fpga.engine.gemv import Gemv

        design = (self._design or Gemv)(self.engine)
        bench = _Bench(design, self.engine, job, self._grants(job))
        simulator = Simulator(design)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bench.drive)
        simulator.run()
        if bench.unfinished:
            raise RuntimeError("the engine did not come to its end")
        if len(bench.accumulators) != job.rows * job.groups:
            raise RuntimeError("the engine did not give one result for each row and group")
        return Results(
            np.array(bench.accumulators, np.int32), np.array(bench.outputs, np.int8), bench.cycles, bench.stalls
        )


class _Bench:
    """What driver.cc does, in Python."""

    def __init__(self, design: Gemv, engine: Engine, job: PackedProduct, grants: Iterator[bool]) -> None:
        self._design: Any = design
        self._engine = engine
        self._job = job
        self._grants = grants
        self.accumulators: list[int] = []
        self.outputs: list[int] = []
        self.cycles = self.stalls = 0
        self.unfinished = True

    async def drive(self, ctx: Any) -> None:
        d, job = self._design, self._job
        await self._write_activations(ctx)
        for port, value in (
            (d.start, 1),
            (d.rows, job.rows),
            (d.row_beats, job.row_beats),
            (d.group_beats, job.group_beats),
        ):
            ctx.set(port, value)
        await ctx.tick()
        ctx.set(d.start, 0)
        sent, waiting = 0, False
        for _ in range(job.limit_cycles):
            if not ctx.get(d.busy):
                break
            if ctx.get(d.y_valid):
                self.accumulators.append(ctx.get(d.y_acc))
                self.outputs.append(ctx.get(d.y_q))
            waiting = waiting or next(self._grants)
            valid = waiting and sent < job.rows * job.row_beats
            ctx.set(d.w_valid, valid)
            if valid:
                self._offer(ctx, sent)
                if ctx.get(d.w_ready):
                    sent, waiting = sent + 1, False
            await ctx.tick()
        self.unfinished = bool(ctx.get(d.busy))
        self.cycles, self.stalls = ctx.get(d.cycles), ctx.get(d.stalls)

    async def _write_activations(self, ctx: Any) -> None:
        d, job = self._design, self._job
        ctx.set(d.x_write, 1)
        for beat, word in enumerate(_words(job.x, self._engine.lanes)):
            ctx.set(d.x_address, beat)
            ctx.set(d.x_data, word)
            await ctx.tick()
        ctx.set(d.x_write, 0)

    def _offer(self, ctx: Any, beat: int) -> None:
        d, job, size = self._design, self._job, self._engine.beat_bytes
        row, place = divmod(beat, job.row_beats)
        ctx.set(d.w_data, next(_words(job.weights[beat * size : (beat + 1) * size], size)))
        # Only the beat that ends a row has a scale; others carry what would spoil a result.
        multiplier, shift = 0xFFFF, 1
        if place == job.row_beats - 1 and job.multipliers is not None and job.shifts is not None:
            multiplier, shift = int(job.multipliers[row]), int(job.shifts[row])
        ctx.set(d.multiplier, multiplier)
        ctx.set(d.shift, shift)


def _words(data: Any, size: int) -> Iterator[int]:
    """Bytes as numbers of ``size`` bytes, the first lane lowest."""
    raw = data.tobytes()
    for start in range(0, len(raw), size):
        yield int.from_bytes(raw[start : start + size], "little")
