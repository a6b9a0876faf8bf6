"""From an accumulator of 32 bits to int8: times 16 bits, shifted right, rounded half up, saturated.

``q = sat8((acc · multiplier + 2^(shift - 1)) >> shift)``, in nine stages. Rounding and shifting are
one: ``(p + 2^(s - 1)) >> s`` is ``((p >> (s - 1)) + 1) >> 1``, so a small incrementer does, behind
the shifter and the narrowing, where an adder of 48 bits would stand before them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from joulebench_plugins.fpga.engine.delay import delayed
from joulebench_plugins.fpga.engine.multiplier import Multiplier
from joulebench_plugins.fpga.engine.technology import Technology

ACCUMULATOR_BITS = 32
MULTIPLIER_BITS = 16
SHIFT_BITS = 6
#: |acc| · multiplier < 2^31 · 2^16, and a sign.
PRODUCT_BITS = 48
_HALF = ACCUMULATOR_BITS // 2
#: What is left of a shifted product: beyond -256 … 255 it saturates anyway after halving.
_NARROW_BITS = 9


class Requantizer(wiring.Component):  # type: ignore[misc]
    """``q`` belongs to the ``acc``, ``multiplier`` and ``shift`` of :attr:`LATENCY` cycles before.

    ``multiplier`` is unsigned; ``shift`` is 1 … 47.
    """

    LATENCY: ClassVar[int] = Multiplier.LATENCY + 6

    def __init__(self, technology: Technology = "generic") -> None:
        super().__init__(
            {
                "acc": In(signed(ACCUMULATOR_BITS)),
                "multiplier": In(MULTIPLIER_BITS),
                "shift": In(SHIFT_BITS),
                "q": Out(signed(8)),
            }
        )
        self._technology = technology

    def elaborate(self, platform: object) -> Module:
        """Product in two halves, their sum, three stages of shifting, narrowing, rounding."""
        m = Module()
        # Stages 1 to 3. A cell multiplies 18 bits; of acc only the upper half has a sign.
        m.submodules.low = low = Multiplier(_HALF + 1, MULTIPLIER_BITS + 1, self._technology)
        m.submodules.high = high = Multiplier(_HALF, MULTIPLIER_BITS + 1, self._technology)
        m.d.comb += [
            low.a.eq(self.acc[:_HALF]),
            high.a.eq(self.acc[_HALF:].as_signed()),
            low.b.eq(self.multiplier),
            high.b.eq(self.multiplier),
        ]
        places = Signal(SHIFT_BITS, reset_less=True)  # the last place is the rounding's
        m.d.sync += places.eq(self.shift - 1)

        # Stage 4.
        product = Signal(signed(PRODUCT_BITS), reset_less=True)
        m.d.sync += product.eq(Cat(Const(0, _HALF), high.p).as_signed() + low.p)
        places = delayed(m, places, Multiplier.LATENCY)

        # Stages 5 to 7: by 16s, by 4s, by 1s.
        coarse = Signal(signed(PRODUCT_BITS), reset_less=True)
        medium = Signal(signed(PRODUCT_BITS), reset_less=True)
        fine = Signal(signed(PRODUCT_BITS), reset_less=True)
        m.d.sync += [
            coarse.eq(product >> Cat(Const(0, 4), places[4:6])),
            medium.eq(coarse >> Cat(Const(0, 2), delayed(m, places[2:4], 1))),
            fine.eq(medium >> delayed(m, places[:2], 2)),
        ]

        # Stages 8 and 9.
        narrow = Signal(signed(_NARROW_BITS), reset_less=True)
        q = Signal(signed(8), reset_less=True)
        m.d.sync += [narrow.eq(self.narrowed(fine)), q.eq(self.rounded(narrow))]
        m.d.comb += self.q.eq(q)
        return m

    def narrowed(self, value: Any) -> Any:
        """``value`` held to -256 … 255."""
        sign, kept = value[-1], value[: _NARROW_BITS - 1]
        fits = (value[_NARROW_BITS - 1 : -1] == sign.replicate(PRODUCT_BITS - _NARROW_BITS)).bool()
        return Cat(Mux(fits, kept, (~sign).replicate(_NARROW_BITS - 1)), sign).as_signed()

    def rounded(self, value: Any) -> Any:
        """Half of ``value``, rounded half up, held to int8 (only 128 can be beyond it)."""
        half = (value + 1) >> 1
        return Mux(half == 128, 127, half)
