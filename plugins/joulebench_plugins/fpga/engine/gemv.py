"""The engine: int8 activations in block RAM, weights from memory, a row's sum out of a tree."""

from __future__ import annotations

from typing import Any, ClassVar

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from joulebench_plugins.fpga.engine.addertree import pipelined_sum
from joulebench_plugins.fpga.engine.delay import delayed
from joulebench_plugins.fpga.engine.multiplier import Multiplier
from joulebench_plugins.fpga.engine.requantizer import ACCUMULATOR_BITS, MULTIPLIER_BITS, SHIFT_BITS, Requantizer
from joulebench_plugins.fpga.engine.sequencer import BEAT_BITS, Sequencer
from joulebench_plugins.fpga.engine.technology import Technology
from joulebench_plugins.fpga.law import CYCLE_BITS, ROW_BITS, Engine

#: A weight and the activation beside it wait so many cycles for each other before the multiplier:
#: the activations' memory and the register behind it.
_OPERAND_STAGES = 2


class Gemv(wiring.Component):  # type: ignore[misc]
    """``acc[m] = Σ_k w[m, k] · x[k]`` for one row after the other, and ``q[m]`` requantized.

    Write the activations beat by beat (``x_write``, ``x_address``, ``x_data``), give the shape with
    ``start``, then beats of weights with ``w_valid``: one is taken in each cycle in which
    ``w_valid`` and ``w_ready`` are high. ``multiplier`` and ``shift`` come with the beat that ends
    a row. A result stands at ``y_acc`` and ``y_q`` for one cycle, when ``y_valid`` is high, and
    cannot be held up. Lane i is in bits 8·i … 8·i + 7 of ``x_data`` and ``b``·i … of ``w_data``
    (``b`` bits of a weight). ``cycles`` and ``stalls`` are those of the product since ``start``
    (:mod:`joulebench_plugins.fpga.law`); they keep their values after ``busy`` has gone.
    """

    #: Parts that a test replaces by broken ones.
    sequencer_type: ClassVar[type[Sequencer]] = Sequencer
    multiplier_type: ClassVar[type[Multiplier]] = Multiplier
    requantizer_type: ClassVar[type[Requantizer]] = Requantizer

    def __init__(self, engine: Engine, technology: Technology = "generic") -> None:
        super().__init__(
            {
                "x_write": In(1),
                "x_address": In(max(1, ceil_log2(engine.depth))),
                "x_data": In(8 * engine.lanes),
                "start": In(1),
                "row_beats": In(BEAT_BITS),
                "group_beats": In(BEAT_BITS),
                "rows": In(ROW_BITS),
                "w_valid": In(1),
                "w_ready": Out(1),
                "w_data": In(engine.weight_bits * engine.lanes),
                "multiplier": In(MULTIPLIER_BITS),
                "shift": In(SHIFT_BITS),
                "y_valid": Out(1),
                "y_acc": Out(signed(ACCUMULATOR_BITS)),
                "y_q": Out(signed(8)),
                "busy": Out(1),
                "cycles": Out(CYCLE_BITS),
                "stalls": Out(CYCLE_BITS),
            }
        )
        self.engine = engine
        self._technology = technology

    def elaborate(self, platform: object) -> Module:
        """Sequencer, operands, multipliers, tree, accumulator, requantizer, counters."""
        m = Module()
        m.submodules.sequencer = sequencer = self.sequencer_type(self.engine.depth)
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.row_beats.eq(self.row_beats),
            sequencer.group_beats.eq(self.group_beats),
            sequencer.rows.eq(self.rows),
            sequencer.valid.eq(self.w_valid),
            self.w_ready.eq(sequencer.ready),
        ]
        total = pipelined_sum(m, self._products(m, sequencer.address))

        # What belongs to a beat travels beside it to the accumulator.
        to_total = _OPERAND_STAGES + self.multiplier_type.LATENCY + self.engine.tree_levels
        fire = delayed(m, sequencer.fire, to_total, reset=True)
        first = delayed(m, sequencer.first, to_total)
        acc = Signal(signed(ACCUMULATOR_BITS), reset_less=True)
        with m.If(fire):
            m.d.sync += acc.eq(self.kept(acc, first) + total)

        m.submodules.requantizer = requantizer = self.requantizer_type(self._technology)
        to_acc = to_total + 1
        m.d.comb += [
            requantizer.acc.eq(acc),
            requantizer.multiplier.eq(delayed(m, self.multiplier, to_acc)),
            requantizer.shift.eq(delayed(m, self.shift, to_acc)),
        ]
        latency = requantizer.LATENCY
        ends = delayed(m, sequencer.fire & sequencer.last, to_acc + latency, reset=True)
        final = delayed(m, sequencer.fire & sequencer.final, to_acc + latency, reset=True)
        m.d.comb += [self.y_valid.eq(ends), self.y_acc.eq(delayed(m, acc, latency)), self.y_q.eq(requantizer.q)]
        self._count(m, final)
        return m

    def kept(self, acc: Any, first: Any) -> Any:
        """What of the accumulator a beat adds to: nothing, where it opens a row or group."""
        return Mux(first, 0, acc)

    def _products(self, m: Module, address: Any) -> list[Any]:
        """One product for each lane, of the beat and the activations at ``address``."""
        lanes, bits = self.engine.lanes, self.engine.weight_bits
        m.submodules.x = x = memory.Memory(shape=8 * lanes, depth=self.engine.depth, init=[])
        write, read = x.write_port(), x.read_port()
        m.d.comb += [
            write.en.eq(self.x_write),
            write.addr.eq(self.x_address),
            write.data.eq(self.x_data),
            read.addr.eq(address),
            read.en.eq(1),
        ]
        weights = delayed(m, self.w_data, _OPERAND_STAGES)
        activations = delayed(m, read.data, _OPERAND_STAGES - 1)
        products = []
        for lane in range(lanes):
            multiplier = self.multiplier_type(bits, 8, self._technology)
            m.submodules[f"lane{lane}"] = multiplier
            m.d.comb += [
                multiplier.a.eq(weights[bits * lane : bits * (lane + 1)].as_signed()),
                multiplier.b.eq(activations[8 * lane : 8 * (lane + 1)].as_signed()),
            ]
            products.append(multiplier.p)
        return products

    def _count(self, m: Module, final: Any) -> None:
        """``busy`` from the first cycle after ``start`` to the last result, and how long."""
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), self.cycles.eq(0), self.stalls.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)
            with m.If(final):
                m.d.sync += self.busy.eq(0)
            with m.If(self.w_ready & ~self.w_valid):
                m.d.sync += self.stalls.eq(self.stalls + 1)
