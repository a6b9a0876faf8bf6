"""The energy of a single request: known where its window is long enough, else not."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_session import Ask, Meter, write

from joulebench_reports.melodi.requests import MeasuredRequest, measured_requests

ASKS = [[Ask(10, 5), Ask(20, 9, decode_s=3.5)], [Ask(10, 5, index=1)]]


def _of(tmp_path: Path, *meters: Meter) -> list[MeasuredRequest]:
    return list(measured_requests(write(tmp_path / "s", ASKS, list(meters))))


@pytest.mark.parametrize(
    "meter",
    [
        Meter("rapl/package-0", 50.0),
        Meter("rapl/package-0", 50.0, wraps_at=100_000),
        Meter("nvml/gpu-0", 50.0, kind="gauge", domain="gpu-0", period_s=0.025),
    ],
    ids=["counter", "counter that wraps", "gauge"],
)
def test_a_request_has_the_energy_between_its_edges(tmp_path: Path, meter: Meter) -> None:
    energies = [energy_row.energy("measured") for energy_row in _of(tmp_path, meter)]
    assert [energy.gross_j for energy in energies] == pytest.approx([100.0, 200.0, 100.0], rel=1e-3)
    assert energies[0].channels == (meter.name,)


def test_a_window_too_short_for_its_sensor_has_no_energy_but_may_enter_a_fit(tmp_path: Path) -> None:
    energies = [energy_row.energy("measured") for energy_row in _of(tmp_path, Meter("slow/x", 50.0, period_s=0.5))]
    # The last one is a block of its own, whose energy the run judged.
    assert [energy.gross_j for energy in energies] == [None, None, 100.0]
    assert [energy.fit_j for energy in energies] == pytest.approx([100.0, 200.0, 100.0])
    assert "insufficient_resolution" in energies[0].flags


def test_a_counter_that_never_moved_says_nothing(tmp_path: Path) -> None:
    meter = Meter("rapl/package-0", 0.0, block_flags=["counter_frozen"])
    energy = _of(tmp_path, meter)[0].energy("measured")
    assert (energy.gross_j, energy.fit_j, energy.flags) == (None, None, ("counter_frozen",))


def test_parts_are_told_apart_by_their_domain(tmp_path: Path) -> None:
    request = _of(
        tmp_path,
        Meter("rapl/package-0", 50.0),
        Meter("rapl/dram-0", 5.0, domain="dram-0"),
        Meter("rapl/core", 30.0, domain="core", counted=False),
        Meter("nvml/gpu-0", 200.0, domain="gpu-0"),
    )[0]
    assert request.energy("measured", "cpu").gross_j == pytest.approx(110)
    assert request.energy("measured", "gpu").gross_j == pytest.approx(400)
    assert request.energy("measured").gross_j == pytest.approx(510)


def test_provenances_are_never_added(tmp_path: Path) -> None:
    request = _of(
        tmp_path,
        Meter("rapl/package-0", 50.0),
        Meter("estimate/cpu", 70.0, provenance="estimated", domain="cpu-estimate"),
    )[0]
    assert request.energy("measured").gross_j == pytest.approx(100)
    assert request.energy("estimated").gross_j == pytest.approx(140)
    assert request.energy("simulated").flags == ("no_counted_channel",)


def test_a_total_with_an_unknown_part_is_unknown(tmp_path: Path) -> None:
    request = _of(
        tmp_path,
        Meter("rapl/package-0", 50.0),
        Meter("nvml/gpu-0", 1.0, domain="gpu-0", block_flags=["counter_frozen"]),
    )[0]
    assert request.energy("measured").gross_j is None
    assert request.energy("measured").flags == ("counter_frozen",)
