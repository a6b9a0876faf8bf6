"""The rule for what happens next: another block, another process, or the end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.meter.stopping import BlocksSoFar, Share, Stop, StoppingRule, counting, next_process


def steady(*per_process: int, seconds: float = 1.0) -> BlocksSoFar:
    """Blocks of a cell that hardly scatters, so many in each process."""
    done = BlocksSoFar()
    for process, blocks in enumerate(per_process):
        for _ in range(blocks):
            done.add(process, len(done), seconds, None, 1.0 + 1e-6 * (len(done) % 3))
    return done


def noisy(*per_process: int) -> BlocksSoFar:
    """The same, with blocks that differ by a half."""
    done, source = BlocksSoFar(), random.Random(1)
    for process, blocks in enumerate(per_process):
        for _ in range(blocks):
            done.add(process, len(done), 1.0 + source.random(), None, 1.0)
    return done


def test_the_last_repeat_of_a_round_counts() -> None:
    assert counting([0, 1, 1, 1, 2]) == [0, 3, 4]
    assert counting([]) == []


def test_figures_and_numbers_of_blocks_are_those_of_the_last_repeats() -> None:
    done = BlocksSoFar()
    for number, seconds in ((0, 1.0), (1, 50.0), (1, 1.0), (2, 1.0)):
        done.add(0, number, seconds, None, 1.0)
    assert (len(done), done.measured) == (3, 4)
    assert done.interval().mean == pytest.approx(1.0)
    assert done.measured_s == pytest.approx(53.0)  # what was spent was spent


def test_a_block_without_joules_that_was_repeated_costs_the_cell_no_joules() -> None:
    done = BlocksSoFar()
    for number, joules in ((0, 2.0), (1, None), (1, 4.0)):
        done.add(0, number, 1.0, joules, 1.0)
    assert done.has_joules
    assert done.interval().mean == pytest.approx(3.0)


def test_the_blocks_of_a_look_are_shared_out_over_the_processes() -> None:
    rule = StoppingRule(processes=3, min_blocks=20, max_blocks=20)
    shares = []
    done = BlocksSoFar()
    while isinstance(share := next_process(done, rule), Share):
        for _ in range(share.blocks):
            done.add(len(shares), len(done), 1.0, None, 1.0)
        shares.append(share.blocks)
    assert shares == [7, 7, 6]


def test_later_processes_are_no_longer_than_the_first_ones() -> None:
    rule = StoppingRule(processes=3, min_blocks=20, max_blocks=80, target=1e-9)
    shares, done = [], BlocksSoFar()
    while isinstance(share := next_process(done, rule), Share):
        for place in range(share.blocks):
            done.add(len(shares), len(done), 1.0 + place % 2, None, 1.0)
        shares.append(share.blocks)
    assert shares == [7, 7, 6, *(7, 7, 6), *(7, 7, 7, 7, 6, 6)]
    assert rule.most_processes() == len(shares)


def test_a_cell_is_looked_at_only_at_its_looks() -> None:
    rule = StoppingRule(min_blocks=20, max_blocks=80, target=0.02)
    assert next_process(steady(19), rule) == Share(1, float("inf"))
    assert next_process(steady(20), rule) == Stop()
    assert next_process(steady(21), rule) == Share(19, float("inf"))
    assert next_process(noisy(20), rule) == Share(20, float("inf"))
    assert next_process(noisy(80), rule) == Stop("target_not_reached")


def test_each_process_has_its_share_of_the_time() -> None:
    rule = StoppingRule(processes=3, min_blocks=30, max_blocks=30, time_budget_s=30.0)
    assert next_process(BlocksSoFar(), rule) == Share(10, 10.0)
    assert next_process(steady(5, seconds=2.0), rule) == Share(13, 10.0)
    slow = Share(10, 10.0)
    assert slow.owes(0, 0.0)
    assert slow.owes(4, 9.9)
    assert not slow.owes(4, 10.0)


def test_where_the_time_is_spent_no_further_process_is_asked_for() -> None:
    rule = StoppingRule(processes=3, min_blocks=30, max_blocks=30, time_budget_s=10.0)
    assert next_process(steady(2, seconds=6.0), rule) == Stop("time_budget")
    # The first block of a cell is measured whatever it takes.
    assert isinstance(next_process(BlocksSoFar(), StoppingRule(time_budget_s=0.0)), Share)


def test_simulated_hardware_is_asked_once() -> None:
    rule = StoppingRule(processes=3, min_blocks=6, max_blocks=20)
    done = steady(2)
    done.simulated = True
    assert next_process(done, rule) == Share(4, float("inf"))
    done = steady(6)
    done.simulated = True
    assert next_process(done, rule) == Stop()


def test_passes_go_through_the_whole_list_whatever_the_intervals_say() -> None:
    rule = StoppingRule(min_blocks=2, max_blocks=3, passes=2)
    assert isinstance(next_process(BlocksSoFar(), rule), Share)
    done = steady(3)
    assert next_process(done, rule) == Share(1, float("inf"))  # resumed: the list is not known yet
    done.list_blocks = 4
    assert next_process(done, rule) == Share(5, float("inf"))
    whole = steady(8)
    whole.list_blocks = 4
    assert next_process(whole, rule) == Stop()


@given(
    processes=st.integers(1, 5),
    least=st.integers(1, 60),
    more=st.integers(0, 300),
    budget_s=st.floats(0.5, 500.0),
    repeats=st.lists(st.integers(0, 2), min_size=1, max_size=9),
    scatter=st.floats(0.0, 1.0),
)
def test_every_cell_ends_and_max_blocks_is_never_overrun_by_repeats(
    processes: int, least: int, more: int, budget_s: float, repeats: list[int], scatter: float
) -> None:
    rule = StoppingRule(processes, least, least + more, 0.02, budget_s)
    done, source, begun = BlocksSoFar(), random.Random(0), 0
    while isinstance(share := next_process(done, rule), Share):
        blocks, seconds = len(done), done.measured_s
        while share.owes(len(done) - blocks, done.measured_s - seconds):
            number = len(done)
            for _ in range(1 + repeats[number % len(repeats)]):
                done.add(begun, number, 1.0 + scatter * source.random(), None, 1.0)
        assert len(done) > blocks
        begun += 1
    assert len(done) <= rule.max_blocks
    assert begun <= rule.most_processes()
