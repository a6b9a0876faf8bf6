"""A signed multiplier with registers at its inputs, its product and its output."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from joulebench_plugins.fpga.engine.technology import Technology

#: Inputs and output of an ECP5 multiplier, in bits.
_DSP_BITS: Final = 18
_DSP_PRODUCT_BITS: Final = 36


class Multiplier(wiring.Component):  # type: ignore[misc]
    """``p = a · b``, :attr:`LATENCY` cycles later; a new pair can come in every cycle."""

    LATENCY: ClassVar[int] = 3

    def __init__(self, a_bits: int, b_bits: int, technology: Technology = "generic") -> None:
        if max(a_bits, b_bits) > _DSP_BITS:
            raise ValueError(f"a multiplier takes {_DSP_BITS} bits, not {a_bits} and {b_bits}")
        super().__init__({"a": In(signed(a_bits)), "b": In(signed(b_bits)), "p": Out(signed(a_bits + b_bits))})
        self._technology = technology

    def elaborate(self, platform: object) -> Module:
        """Three stages of registers around a product, in fabric or in one cell."""
        m = Module()
        if self._technology == "ecp5":
            m.submodules.dsp = self._ecp5(m)
            return m
        a = Signal.like(self.a, reset_less=True)
        b = Signal.like(self.b, reset_less=True)
        product = Signal.like(self.p, reset_less=True)
        output = Signal.like(self.p, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b), output.eq(product)]
        m.d.comb += self.p.eq(output)
        return m

    def _ecp5(self, m: Module) -> Any:
        """MULT18X18D with input, pipeline and output registers (Lattice TN-02205, sysDSP)."""
        a, b = Signal(signed(_DSP_BITS)), Signal(signed(_DSP_BITS))
        p = Signal(signed(_DSP_PRODUCT_BITS))
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.p.eq(p)]
        ports: dict[str, Any] = {
            "i_CLK0": ClockSignal(),
            "i_CE0": Const(1),
            "i_RST0": Const(0),
            "i_SIGNEDA": Const(1),
            "i_SIGNEDB": Const(1),
            "i_SOURCEA": Const(0),
            "i_SOURCEB": Const(0),
        }
        for stage in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
            ports[f"p_REG_{stage}_CLK"] = "CLK0"
        ports |= {f"i_A{bit}": a[bit] for bit in range(_DSP_BITS)}
        ports |= {f"i_B{bit}": b[bit] for bit in range(_DSP_BITS)}
        ports |= {f"o_P{bit}": p[bit] for bit in range(_DSP_PRODUCT_BITS)}
        return Instance("MULT18X18D", **ports)
