from __future__ import annotations

import itertools

from joulebench.api import Channel, FileSource
from joulebench.meter.calibration import calibrate
from joulebench.meter.windows import TOTAL, Accountant
from joulebench.protocol import Block, Edge, RequestRecord


def channel(path: str) -> Channel:
    return Channel(
        path="sensor/energy", quantity="energy", unit="J", kind="counter",
        source=FileSource(path), scale=1e-6, provenance="measured", domain="package-0",
        update_period_s=0.001,
    )  # fmt: skip


def block() -> Block:
    edges = (Edge(0, "start", (5,)), Edge(2_000_000_000, "end", (5,)))
    request = RequestRecord(0, edges, 1, 1, 2.0, (), (), {}, None, None)
    return Block((request,), 0.1)


def test_a_counter_that_never_changes_is_found_out(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "energy_uj"
    file.write_text("5\n")
    clock = itertools.count(step=1_000_000)
    (found,) = calibrate([channel(str(file))], 0.1, lambda: next(clock))
    assert found.frozen
    assert found.period_s is None
    assert found.window_for_1_percent_s is None


def test_the_energy_of_a_frozen_counter_is_withheld_and_not_zero() -> None:
    channels = [channel("/dev/null")]
    believed = Accountant(channels, [0], {}).block_energies(block(), {})
    withheld = Accountant(channels, [0], {}, frozen=[0]).block_energies(block(), {})
    assert [window.gross_j for phase, _, window in believed if phase == TOTAL] == [0.0]
    (window,) = [window for phase, _, window in withheld if phase == TOTAL]
    assert window.gross_j is None
    assert "counter_frozen" in window.flags
