"""A run that is killed at any moment loses no block that it had measured, and leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kills import kill_at_random
from toyrun import Bench


def _profile(bench: Bench) -> Path:
    toys = {"a": {"step_s": 0.01}, "b": {"step_s": 0.01}}
    return bench.profile(
        toys,
        min_blocks=12,
        max_blocks=12,
        processes=3,
        probes={"toymeter": {"mode": "gauge"}},
        limits={"open_s": 120.0},
    )


def _hold(counts: Counter[str]) -> None:
    print({name: counts[name] for name in sorted(counts)})
    assert counts["blocks"] > counts["kills"], "the kills must find blocks to lose"
    assert (counts["lost"], counts["leftovers"], counts["tracebacks"], counts["faults"]) == (0, 0, 0, 0)


def test_a_few_kills_lose_no_block_and_leave_nothing(bench: Bench) -> None:
    _hold(kill_at_random(bench, _profile(bench), kills=4, seed=7))


@pytest.mark.faults
@pytest.mark.timeout(3000)
def test_a_hundred_kills_lose_no_block_and_leave_nothing(bench: Bench) -> None:
    """Two runs at once, each killed 50 times: the machine is busy."""
    benches = [Bench(bench.folder / str(place), bench.environment) for place in range(2)]
    with ThreadPoolExecutor(len(benches)) as pool:
        counted = pool.map(lambda seed: kill_at_random(benches[seed], _profile(benches[seed]), 50, seed), range(2))
        _hold(sum(counted, Counter()))
