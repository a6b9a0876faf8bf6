"""The integer arithmetic that model and RTL share, against Python's own integers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench_plugins.fpga.arithmetic import (
    MAX_SHIFT,
    accumulate,
    accumulate_groups,
    max_columns,
    requantize,
    requantizer,
)

np = pytest.importorskip("numpy")


@pytest.mark.parametrize("columns", [1, 7, 1536, 20_000])
@pytest.mark.parametrize(("w", "x"), [(-128, -128), (127, -128), (127, 127)])
def test_sums_of_extremes_are_exact(columns: int, w: int, x: int) -> None:
    weights, vector = np.full((3, columns), w, np.int8), np.full(columns, x, np.int8)
    assert accumulate(weights, vector).tolist() == [columns * w * x] * 3


def test_random_sums_are_those_of_python() -> None:
    source = np.random.default_rng(3)
    weights = source.integers(-128, 128, (5, 333)).astype(np.int8)
    vector = source.integers(-128, 128, 333).astype(np.int8)
    expected = [sum(int(a) * int(b) for a, b in zip(row, vector, strict=True)) for row in weights]
    assert accumulate(weights, vector).tolist() == expected
    groups = accumulate_groups(weights, vector, 50)
    assert groups.shape == (5, 7)
    assert groups.sum(axis=1).tolist() == expected
    assert groups[2, 6] == sum(int(weights[2, k]) * int(vector[k]) for k in range(300, 333))


def test_a_row_that_could_overflow_is_refused() -> None:
    longest = max_columns(8)
    assert longest * 2**14 <= 2**31 - 1 < (longest + 1) * 2**14
    with pytest.raises(ValueError, match="overflow"):
        accumulate(np.zeros((1, longest + 1), np.int8), np.zeros(longest + 1, np.int8))


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**16 - 1), st.integers(1, MAX_SHIFT))
def test_requantizing_rounds_half_up_and_saturates(acc: int, factor: int, shift: int) -> None:
    rounded = (Fraction(acc * factor, 2**shift) + Fraction(1, 2)).__floor__()
    expected = min(127, max(-128, rounded))
    assert int(requantize(np.asarray([acc], np.int32), factor, shift)[0]) == expected


def test_each_row_may_have_its_own_scale() -> None:
    acc = np.asarray([1000, 1000, -1000], np.int32)
    assert requantize(acc, np.asarray([1, 2, 3]), np.asarray([4, 6, 5])).tolist() == [63, 31, -94]


@pytest.mark.parametrize(("factor", "shift"), [(-1, 3), (2**16, 3), (1, 0), (1, 48)])
def test_what_the_engine_has_no_wires_for_is_refused(factor: int, shift: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        requantize(np.zeros(1, np.int32), factor, shift)


@given(st.floats(1e-6, 32_000.0))
def test_a_scale_is_met_to_fifteen_bits(scale: float) -> None:
    factor, shift = requantizer(scale)
    assert 0 < factor < 2**16
    assert 1 <= shift <= MAX_SHIFT
    assert abs(factor / 2**shift / scale - 1) <= 2**-16


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), 40_000.0])
def test_a_scale_without_code_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        requantizer(scale)
