"""Processes differ from start to start: what one process each can claim, and what three can."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from joulebench.meter.comparison import CellBlocks, CellComparison, compare, compare_through, widened_by
from joulebench.meter.multiplicity import corrected_for_many

SPREAD = 0.01
PAIRS = 400


def cell(source: random.Random, processes: int, blocks: int, level: float = 1.0, drift: float = 0.0) -> CellBlocks:
    """A cell whose starts differ by 1 %, its blocks by 1 %, on a machine that drifts for all alike."""
    energies, owners, starts = [], [], []
    for process in range(processes):
        start = source.gauss(0.0, SPREAD)
        for _ in range(blocks // processes):
            at = len(energies) / blocks
            energies.append(level * math.exp(start + drift * at + source.gauss(0.0, 0.01)))
            owners.append(process)
            starts.append(len(starts) + 0.5 * source.random())
    return CellBlocks(energies, [1.0] * len(energies), list(range(len(energies))), owners, starts)


def pairs(processes: int, blocks: int, level: float = 1.0, drift: float = 0.0) -> list[CellComparison]:
    source = random.Random(f"{processes} {blocks} {level} {drift}")
    return [
        compare(cell(source, processes, blocks, level, drift), cell(source, processes, blocks, 1.0, drift))
        for _ in range(PAIRS)
    ]


def claims(rows: list[CellComparison]) -> float:
    return sum(row.verdict in ("lower", "higher") for row in rows) / len(rows)


@pytest.mark.parametrize(("processes", "blocks"), [(1, 20), (1, 80), (2, 40), (3, 21), (3, 81), (5, 80)])
def test_equal_cells_are_rarely_called_different(processes: int, blocks: int) -> None:
    assert claims(pairs(processes, blocks)) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / PAIRS)


@pytest.mark.parametrize(("processes", "blocks"), [(3, 24), (3, 81), (5, 80)])
def test_five_per_cent_are_found_from_three_processes_on(processes: int, blocks: int) -> None:
    assert claims(pairs(processes, blocks, 1.05)) >= 0.9


def test_drift_of_both_cells_is_removed_where_it_dominates() -> None:
    drifting = pairs(3, 81, 1.05, drift=0.3)
    assert claims(drifting) >= 0.7
    assert claims(pairs(3, 81, 1.0, drift=0.3)) <= 0.07


def test_one_process_each_claims_only_what_starts_cannot_explain() -> None:
    source = random.Random(1)
    near = compare(cell(source, 1, 40, 0.93), cell(source, 1, 40))
    assert (near.verdict, near.hidden) == ("no_difference", True)
    assert {"single_process", "start_spread_assumed"} <= set(near.flags)
    assert (near.smallest_detectable or 0) > 0.1
    far = compare(cell(source, 1, 40, 0.5), cell(source, 1, 40))
    assert far.verdict == "lower"
    several = compare(cell(source, 3, 42), cell(source, 3, 42))
    assert not {"single_process", "few_processes", "start_spread_assumed"} & set(several.flags)


def test_intervals_of_many_cells_hold_together() -> None:
    source = random.Random(8)
    together = exclude = 0
    for _ in range(200):
        baseline = cell(source, 5, 40)
        true = [1.0, 1.0, 1.0, 1.0, 1.1, 1.1, 1.2, 1.2]
        corrected = corrected_for_many([compare(cell(source, 5, 40, level), baseline) for level in true])
        together += all((c.low or 0) <= t <= (c.high or 0) for c, t in zip(corrected, true, strict=True))
        exclude += any((c.low or 0) > 1 or (c.high or 2) < 1 for c in corrected[:4])
    assert together >= 0.93 * 200
    assert exclude <= 0.07 * 200


def test_a_decision_and_its_interval_agree() -> None:
    source = random.Random(9)
    baseline = cell(source, 5, 80)
    corrected = corrected_for_many([compare(cell(source, 5, 80, 1 + 0.01 * k), baseline) for k in range(6)])
    for entry in corrected:
        assert (entry.verdict == "higher") == ((entry.low or 0) >= 1)
    widths = [
        math.log((c.high or 1) / (c.ratio or 1)) / (c.u_log or 1) for c in corrected if c.verdict == "no_difference"
    ]
    assert all(abs(one - other) < 2 for one, other in pairwise(widths))


def in_group(source: random.Random, level: float, first: int, drift: float) -> CellBlocks:
    made = cell(source, 3, 30, level * drift)
    rounds = [first + number for number in made.rounds or ()]
    return CellBlocks(made.energies, made.units, rounds, made.processes, [first + start for start in made.starts or ()])


def joined(*parts: CellBlocks) -> CellBlocks:
    def whole(name: str) -> list[float]:
        return [value for part in parts for value in getattr(part, name)]

    owners = [3 * place + owner for place, part in enumerate(parts) for owner in part.processes or ()]
    return CellBlocks(whole("energies"), whole("units"), [int(r) for r in whole("rounds")], owners, whole("starts"))


def test_cells_of_two_groups_are_compared_through_the_anchor_in_both() -> None:
    source = random.Random(4)
    warm = 1.4
    anchor = joined(in_group(source, 1.0, 0, 1.0), in_group(source, 1.0, 30, warm))
    early, late = in_group(source, 1.0, 0, 1.0), in_group(source, 0.8, 30, warm)
    assert not compare(late, early).paired
    comparison = compare_through(compare(late, anchor), compare(early, anchor))
    assert comparison is not None
    assert comparison.verdict == "lower"
    assert (comparison.low or 0) < 0.8 < (comparison.high or 0)
    assert "through_anchor" in comparison.flags
    assert compare_through(compare(late, early), compare(early, anchor)) is None


def test_one_common_round_is_too_few_and_not_said_to_be_no_turn() -> None:
    one = CellBlocks([1.0, 1.1, 1.0], None, [0, 1, 2], starts=[0.0, 1.0, 2.0])
    once = CellBlocks([1.2, 1.2], None, [0, 7], starts=[0.2, 9.0])
    comparison = compare(one, once)
    assert (comparison.verdict, comparison.paired) == ("cannot_tell", False)
    assert "too_few_rounds" in comparison.flags
    assert "not_interleaved" not in comparison.flags


def test_an_uncertainty_from_elsewhere_widens_the_ratio() -> None:
    source = random.Random(5)
    bare = compare(cell(source, 5, 40, 0.8), cell(source, 5, 40))
    wide = widened_by(bare, 0.2, "model_error")
    assert (bare.verdict, wide.verdict) == ("lower", "no_difference")
    assert wide.u_log == pytest.approx(math.hypot(bare.u_log or 0, 0.2))
    assert "model_error" in wide.flags
    assert (wide.p_value or 0) > (bare.p_value or 1)
