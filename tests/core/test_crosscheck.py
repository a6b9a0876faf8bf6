"""Two probes that read one counter: agreement, and every way to be wrong that must show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from joulebench.api import Channel, FileSource
from joulebench.meter.live.crosscheck import CrossCheck, cross_check, judge, pairs
from joulebench.testing.livefiles import NumberFile

WATTS = 12.0
WRAP = 1_500_000


def channel(path: str, **changes: object) -> Channel:
    made = Channel(
        path,
        "energy",
        "J",
        "counter",
        FileSource("/none"),
        1e-6,
        "simulated",
        "package-0",
        update_period_s=1e-3,
        wraps_at=WRAP,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


FIRST, SECOND = channel("rapl/package-0"), channel("other/package-0", counted=False)


def shown(seconds: float, scale: float = 1.0, lag_s: float = 0.0) -> int:
    """A counter that is updated each millisecond, in µJ, wrapping."""
    updates = int((seconds - lag_s) / 1e-3 + 1e-9)
    return int(updates * 1e-3 * WATTS * scale * 1e6) % WRAP


def read(second_at: Callable[[float], int], first_at: Callable[[float], int] = shown) -> CrossCheck:
    """Sandwiches every 2.3 ms for 1 s, 10 µs from read to read."""
    sandwiches = [
        (first_at(t), second_at(t + 1e-5), first_at(t + 2e-5)) for t in (0.1 + 2.3e-3 * number for number in range(430))
    ]
    return judge(FIRST, SECOND, sandwiches, 430 * 2.3e-3)


def test_the_same_counter_agrees_through_its_wraps() -> None:
    agreement = read(shown)
    assert agreement.agrees is True
    assert (agreement.readings, agreement.between) == (430, 430)
    assert agreement.counted_j == pytest.approx(WATTS * 429 * 2.3e-3, rel=0.01)
    assert agreement.counted_j > WRAP * 1e-6, "it wraps"


def test_counters_that_began_at_different_times_agree() -> None:
    assert read(lambda t: (shown(t) + 777_777) % WRAP).agrees is True


@pytest.mark.parametrize(
    "second_at",
    [
        lambda t: shown(t, scale=1.02),
        lambda t: shown(t, scale=0.98),
        lambda t: shown(0.1),
        lambda t: shown(t - 0.05 if t > 0.6 else t),
        lambda t: shown(t) + (40_000 if 0.5 < t < 0.503 else 0),
    ],
    ids=["2 % more", "2 % less", "frozen", "loses 50 ms", "one reading off"],
)
def test_a_counter_that_is_off_is_found(second_at: Callable[[float], int]) -> None:
    agreement = read(second_at)
    assert agreement.agrees is False
    assert agreement.worst_j > agreement.allowed_j


def test_counters_that_stand_still_or_few_readings_tell_nothing() -> None:
    assert read(lambda _: 5, lambda _: 5).agrees is None
    assert judge(FIRST, SECOND, [], 1.0).agrees is None
    assert judge(FIRST, SECOND, [(1, 2, 3)] * 3, 1.0).agrees is None


def test_only_two_probes_of_one_domain_are_a_pair() -> None:
    others = [
        channel("rapl/package-0/core", counted=False, domain="package-0"),  # the same probe
        channel("other/dram", counted=False, domain="package-0/dram"),
        channel("third/package-0", counted=False, provenance="measured"),
        channel("fourth/package-0", counted=False, quantity="power", kind="gauge"),
    ]
    assert pairs([*others, SECOND, FIRST]) == [(FIRST, SECOND)]


def test_files_are_read_in_turn(tmp_path: Path) -> None:
    file = NumberFile(tmp_path / "energy_uj", 0)
    now_s = 0.0

    def pause(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        file.write(shown(now_s))

    source = FileSource(str(file.path))
    check = cross_check(replace(FIRST, source=source), replace(SECOND, source=source), 0.5, lambda: now_s, pause)
    file.close()
    assert check.agrees is True
    assert check.readings == 250
