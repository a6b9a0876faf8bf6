"""What ``plugin check`` finds beyond the contract, each claim on a probe of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebench.api import Availability, Channel, Probe, ReaderSource, Settings
from joulebench.pluginkit.behaviour import checks_of
from joulebench.testing import BrokenContractError, Subject

BAD_PLUGINS = Path(__file__).parents[1] / "bad_plugins"
CHECK = "reading it takes little of the time between samples"


class Meter(Probe):
    """A counter that is read by code."""

    name, summary = "meter", "counts"

    def __init__(self, kind: str) -> None:
        self._source = ReaderSource("bad_reader:Counter", f"{kind}:5")

    def inspect(self, settings: Settings) -> Availability:
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        return (Channel("meter/board", "energy", "J", "counter", self._source, 1e-6, "simulated", "board"),)


def test_a_reader_that_blocks_is_a_fault_and_a_quick_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BAD_PLUGINS))
    quick = dict(checks_of("probe", Subject(Meter("plain"))))[CHECK]
    assert 0 < quick()["read_s"]["meter/board"] < 0.01
    slow = dict(checks_of("probe", Subject(Meter("slow"))))[CHECK]
    with pytest.raises(BrokenContractError, match=r"meter/board takes 0\.5.* s; it is sampled every 0\.1 s"):
        slow()
