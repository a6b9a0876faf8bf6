"""What evidence about number types counts."""

from __future__ import annotations

import pytest

from joulebench.weightkit import bits_per_weight, relative_error, sampled, shares, source_evidence, tally

np = pytest.importorskip("numpy")


def test_shares_name_the_greatest_first_and_leave_nothing_out() -> None:
    assert shares({"f32": 1, "q5_0": 598, "q8_0": 401}) == "q5_0 59.8 %, q8_0 40.1 %, f32 0.1 %"
    assert shares({}) == ""


def test_names_are_tallied_in_their_order() -> None:
    assert tally(["MatMul", "Add", "MatMul"]) == "Add 1, MatMul 2"


def test_bits_of_no_weights_are_unknown() -> None:
    assert bits_per_weight(18, 32) == 4.5
    assert bits_per_weight(18, 0) is None


def test_rows_are_sampled_over_the_whole_matrix() -> None:
    matrix = np.arange(1000)[:, None]
    rows = sampled(matrix)[:, 0]
    assert len(rows) == 64
    assert rows[-1] > 900
    assert len(sampled(matrix[:10])) == 10


def test_a_matrix_on_a_4_bit_grid_is_told_from_one_that_is_not() -> None:
    source = np.random.default_rng(3)
    free = source.standard_normal((8, 64)).astype(np.float32)
    scales = np.abs(source.standard_normal((8, 2, 1))) + 0.1
    grid = (source.integers(0, 16, (8, 2, 32)) * scales - 1).reshape(8, 64).astype(np.float32)
    both = source_evidence([(512, free), (512, grid)], 1024)
    assert both == {"source_4bit_share": 0.5}
    evidence = source_evidence([(512, grid)], 600)
    assert evidence["source_4bit_share"] == pytest.approx(512 / 600, abs=1e-4)
    assert "4-bit grid" in str(evidence["caution"])
    grid[3, 40] += 1e-3  # seventeen values in one block
    spoilt = grid.copy()
    spoilt[3, 32:49] = np.arange(17)
    assert source_evidence([(512, spoilt)], 512) == {"source_4bit_share": 0.0}


def test_the_error_is_relative_to_all_weights_together() -> None:
    whole, none = np.full((2, 2), 3.0, np.float32), np.zeros((2, 2), np.float32)
    assert relative_error([(whole, whole * 0.9)]) == pytest.approx(0.1)
    assert relative_error([(whole, none), (whole, whole)]) == pytest.approx(0.5**0.5, abs=1e-5)
    assert relative_error([]) is None
