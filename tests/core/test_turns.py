"""How a run goes about its cells: rounds, processes, repeats, budgets, failures, pauses."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakerun import FakeRun

from joulebench.session import Session
from joulebench.testing.workers import ScriptedLoad, WorkerScript


def noisy(process: int, request: int) -> float:
    return 9.0 if request % 3 else 1.0


def test_each_round_holds_every_cell_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, min_blocks=12, max_blocks=12).group({"a": None, "b": None, "c": None}).execute()
    rows = [(row["round"], row["position"], cell) for cell in "abc" for row in run.rows(cell)]
    assert len({(number, position) for number, position, _ in rows}) == len(rows) == 36
    orders = {tuple(cell for number, _, cell in sorted(rows) if number == turn) for turn in range(12)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 2


def test_all_workers_but_one_are_paused_while_a_block_runs(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, min_blocks=4, max_blocks=4, warmup_requests=1).group({"a": None, "b": None}).execute()
    awake: set[str] = set()
    for cell, what in run.workers.log:
        if what in ("hello", "open", "resume"):
            awake.add(cell)
        elif what in ("pause", "close"):
            awake.discard(cell)
        elif what.startswith("run"):
            assert awake == {cell}


def test_processes_of_a_cell_are_spread_over_the_whole_run(tmp_path: Path) -> None:
    """Group after group had all its processes side by side: what changes with the hour was in no interval."""
    run = FakeRun(tmp_path, processes=3, min_blocks=6, max_blocks=6)
    run.group({"a": None}).group({"b": None}).execute()
    assert [cell for cell, _ in run.asked("open")] == ["a", "b", "a", "b", "a", "b"]
    assert [row["process"] for row in run.rows("a")] == [0, 0, 1, 1, 2, 2]


def test_of_a_repeated_block_the_last_counts_and_all_are_kept(tmp_path: Path) -> None:
    """Repeats once counted beside what they repeat: of 4 rounds there were 5 blocks in the mean."""
    times = iter([1.0, 1.0, 100.0])
    script = WorkerScript(request_s=lambda process, request: next(times, 1.0))
    load = ScriptedLoad(busy_s=[0.0, 50.0])
    run = FakeRun(tmp_path, min_blocks=4, max_blocks=4, warmup_requests=1).group({"a": script}, {"a": load}).execute()
    rows = run.rows("a")
    assert [row["round"] for row in rows] == [0, 1, 1, 2, 3]
    assert ["contended" in row["flags"] for row in rows] == [False, True, False, False, False]
    requests = [row["prompt_index"] for row in run.rows("a", "requests")]
    assert requests == [0, 1, 1, 2, 3]
    done = run.runs["a"].record.done
    assert (len(done), done.measured) == (4, 5)
    assert done.interval().mean == pytest.approx(1.0)


def test_a_machine_that_is_never_quiet_overruns_no_number_of_blocks(tmp_path: Path) -> None:
    """A look at 6 came after 3 rounds, and a most of 9 was overrun by up to the whole of it."""
    load = ScriptedLoad(busy_s=[50.0] * 99)
    run = FakeRun(tmp_path, min_blocks=6, max_blocks=9, target=0.001)
    run.group({"a": WorkerScript(request_s=noisy)}, {"a": load}).execute()
    done = run.runs["a"].record.done
    assert (len(done), done.measured) == (9, 18)
    assert "target_not_reached" in run.flags("a")


def test_stolen_time_is_contention(tmp_path: Path) -> None:
    load = ScriptedLoad(stolen_s=[0.0, 0.3])
    run = FakeRun(tmp_path, min_blocks=3, max_blocks=3).group({"a": None}, {"a": load}).execute()
    rows = run.rows("a")
    assert [row["stolen_cpu_s"] for row in rows] == pytest.approx([0.0, 0.3, 0.0, 0.0])
    assert "contended" in rows[1]["flags"]  # type: ignore[operator]


def test_a_quiet_cell_stops_at_the_first_look_and_a_noisy_one_at_the_last(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, min_blocks=6, max_blocks=9, target=0.3)
    run.group({"quiet": None, "noisy": WorkerScript(request_s=noisy)}).execute()
    assert [len(run.rows(cell)) for cell in ("quiet", "noisy")] == [6, 9]
    assert "target_not_reached" in run.flags("noisy")
    assert "target_not_reached" not in run.flags("quiet")


def test_once_the_time_is_spent_no_further_process_loads_and_warms_up(tmp_path: Path) -> None:
    """Each of the three processes of a pass was loaded and warmed up, for nothing."""
    script = WorkerScript(request_s=lambda process, request: 10.0)
    run = FakeRun(tmp_path, processes=3, min_blocks=30, max_blocks=30, time_budget_s=5.0).group({"a": script}).execute()
    assert run.workers.opened("a") == 1
    assert len(run.rows("a")) == 1
    assert "time_budget" in run.flags("a")


def test_a_cell_that_is_slow_has_fewer_blocks_in_each_process_not_fewer_processes(tmp_path: Path) -> None:
    """The first process once took all of the time, and the claim stood on one."""
    script = WorkerScript(request_s=lambda process, request: 2.0)
    run = FakeRun(tmp_path, processes=3, min_blocks=30, max_blocks=30, time_budget_s=24.0)
    run.group({"a": script}).execute()
    processes = [row["process"] for row in run.rows("a")]
    assert [processes.count(number) for number in range(3)] == [4, 4, 4]


def test_a_failed_cell_is_asked_nothing_more_and_the_others_go_on(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, processes=2, min_blocks=4, max_blocks=4, warmup_requests=1)
    run.group({"a": WorkerScript(fails_at=frozenset({3})), "b": None}).group({"c": None}).execute()
    assert (len(run.rows("b")), len(run.rows("c"))) == (4, 4)
    assert run.workers.opened("a") == 1
    assert run.runs["a"].cause is not None
    assert "a: failed: the fake worker was told to go down" in run.heard.lines


def test_a_run_that_goes_on_counts_what_it_has(tmp_path: Path) -> None:
    first = FakeRun(tmp_path, processes=2, min_blocks=6, max_blocks=6, warmup_requests=1)
    first.group({"a": WorkerScript(fails_at=frozenset({4}))})
    (group,) = first._groups
    group.leg()  # open, warm-up and two blocks; the third fails
    again = FakeRun(tmp_path, Session(tmp_path), processes=2, min_blocks=6, max_blocks=6)
    again.group({"a": None}).execute()
    rows = again.rows("a")
    assert [row["process"] for row in rows] == [0, 0, 1, 1, 1, 1]
    assert [row["round"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert "resumed" in again.flags("a")


def test_groups_share_no_number_of_a_round(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, processes=2, min_blocks=4, max_blocks=4).group({"a": None}).group({"b": None}).execute()
    rounds = [row["round"] for cell in "ab" for row in run.rows(cell)]
    assert sorted(rounds) == list(range(8))  # type: ignore[type-var]


def test_an_anchor_takes_its_turn_in_each_round_of_the_other_groups(tmp_path: Path) -> None:
    """Cells that do not fit into memory together were never compared at all."""
    run = FakeRun(tmp_path, processes=2, min_blocks=4, max_blocks=4)
    run.group({"base": None, "a": None}).group({"b": None}, anchor="base").execute()
    rounds = {cell: [row["round"] for row in run.rows(cell)] for cell in ("base", "a", "b")}
    assert sorted(rounds["base"]) == sorted(rounds["a"] + rounds["b"])  # type: ignore[type-var]
    linking = [row["round"] for row in run.rows("base") if "anchor" in row["flags"]]  # type: ignore[operator]
    assert linking == rounds["b"]
    assert [row["block"] for row in run.rows("base")] == list(range(8))
    # Its own end is decided by the rounds of its own group.
    assert (len(run.runs["base"].record.done), run.runs["base"].record.blocks) == (4, 8)


def test_in_each_round_an_anchor_does_the_requests_of_the_others(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, processes=1, min_blocks=3, max_blocks=3)
    run.group({"base": None}).group({"b": None}, anchor="base").execute()
    requests = {cell: [row["prompt_index"] for row in run.rows(cell, "requests")] for cell in ("base", "b")}
    assert requests == {"base": [0, 1, 2, 0, 1, 2], "b": [0, 1, 2]}


def test_a_group_whose_anchor_has_failed_goes_on_without(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, min_blocks=3, max_blocks=3)
    run.group({"base": WorkerScript(fails_at=frozenset({0}))}).group({"b": None}, anchor="base").execute()
    assert len(run.rows("b")) == 3
    assert run.workers.opened("base") == 1
