"""Counts beats, groups and rows, and says which beat opens and which ends an accumulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from joulebench_plugins.fpga.law import ROW_BITS

#: Width of a count of beats in a row (at most MAX_COLUMNS / MIN_LANES).
BEAT_BITS = 16


@dataclass(frozen=True, slots=True)
class _Countdown:
    """What is left of a count, and whether it is at its last step.

    The flag is a register of its own, so that a comparison of all bits does not stand before the
    decisions that hang on it.
    """

    left: Any
    at_last: Any

    def load(self, value: Any) -> list[Any]:
        return [self.left.eq(value), self.at_last.eq(value == 1)]

    def step(self) -> list[Any]:
        return [self.left.eq(self.left - 1), self.at_last.eq(self.left == 2)]


def _countdown(name: str, bits: int) -> _Countdown:
    return _Countdown(Signal(bits, name=f"{name}_left"), Signal(name=f"{name}_at_last"))


class Sequencer(wiring.Component):  # type: ignore[misc]
    """From ``start`` on takes ``rows`` · ``row_beats`` beats, each in the cycle that it comes in.

    ``fire`` is high in a cycle that takes a beat; ``address``, ``first`` (opens an accumulation),
    ``last`` (ends one) and ``final`` (ends the last one) belong to that beat. ``row_beats``,
    ``group_beats`` and ``rows`` are read with ``start``.
    """

    def __init__(self, depth: int) -> None:
        super().__init__(
            {
                "start": In(1),
                "row_beats": In(BEAT_BITS),
                "group_beats": In(BEAT_BITS),
                "rows": In(ROW_BITS),
                "valid": In(1),
                "ready": Out(1),
                "address": Out(max(1, ceil_log2(depth))),
                "fire": Out(1),
                "first": Out(1),
                "last": Out(1),
                "final": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Three countdowns: beats of the row, beats of the group, rows."""
        m = Module()
        row, group = _countdown("row", BEAT_BITS), _countdown("group", BEAT_BITS)
        rows = _countdown("rows", ROW_BITS)
        row_beats, row_single = Signal(BEAT_BITS), Signal()
        group_beats, group_single = Signal(BEAT_BITS), Signal()
        running, opening = Signal(), Signal()
        m.d.comb += [
            self.ready.eq(running),
            self.fire.eq(self.taken(running)),
            self.first.eq(opening),
            self.last.eq(row.at_last | group.at_last),
            self.final.eq(row.at_last & rows.at_last),
        ]
        with m.If(self.start):
            m.d.sync += [running.eq(1), opening.eq(1), self.address.eq(0)]
            m.d.sync += row.load(self.row_beats) + group.load(self.group_beats)
            m.d.sync += rows.load(self.rows)
            m.d.sync += [row_beats.eq(self.row_beats), row_single.eq(self.row_beats == 1)]
            m.d.sync += [group_beats.eq(self.group_beats), group_single.eq(self.group_beats == 1)]
        with m.Elif(self.fire):
            m.d.sync += [opening.eq(self.last), *row.step(), *group.step()]
            m.d.sync += self.address.eq(Mux(row.at_last, 0, self.address + 1))
            with m.If(self.last):
                m.d.sync += [group.left.eq(group_beats), group.at_last.eq(group_single)]
            with m.If(row.at_last):
                m.d.sync += [row.left.eq(row_beats), row.at_last.eq(row_single), *rows.step()]
                with m.If(rows.at_last):
                    m.d.sync += running.eq(0)
        return m

    def taken(self, running: Any) -> Any:
        """Whether this cycle takes a beat."""
        return running & self.valid
