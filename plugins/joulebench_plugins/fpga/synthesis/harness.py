"""Lets an engine with more ports than a package has pins be placed and routed."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Harness(wiring.Component):  # type: ignore[misc]
    """One shift register feeds all inputs of ``design``; another carries all outputs away.

    So all paths of the engine begin and end in registers, and none of it can be optimised away:
    every input bit can have any value, every output bit can be seen.
    """

    def __init__(self, design: Any) -> None:
        super().__init__({"serial_in": In(1), "capture": In(1), "serial_out": Out(1)})
        self._design = design

    def elaborate(self, platform: object) -> Module:
        """The design between the two registers."""
        m = Module()
        m.submodules.design = design = self._design
        ports = {name: getattr(design, name) for name, member in design.signature.members.items() if member.flow == In}
        inputs = Cat(*ports.values())
        outputs = Cat(getattr(design, name) for name in design.signature.members if name not in ports)
        fed = Signal(len(inputs), reset_less=True)
        seen = Signal(len(outputs), reset_less=True)
        leaving = Signal(len(outputs), reset_less=True)
        m.d.comb += [inputs.eq(fed), self.serial_out.eq(leaving[0])]
        m.d.sync += [
            fed.eq(Cat(self.serial_in, fed)),
            seen.eq(outputs),
            leaving.eq(Mux(self.capture, seen, leaving >> 1)),
        ]
        return m
