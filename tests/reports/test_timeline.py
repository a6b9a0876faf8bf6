from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import make_session
import pytest

from joulebench.session import Session
from joulebench.session.tables import SampleRow
from joulebench_reports.charts.timeline import timeline_data, timeline_spec
from joulebench_reports.reading.timeline import BUCKETS, Timeline, read_timeline
from joulebench_reports.summary.session import summarise


def timeline(tmp_path: Path, cell: make_session.Cell) -> Timeline:
    session = Session(make_session.write(tmp_path / "s", [cell]))
    scales = {c.channel: c.scale or 1.0 for c in session.row.channels or ()}
    return read_timeline(session, "a", summarise(session).channels, scales)


def test_a_series_is_thinned_and_keeps_its_mean(tmp_path: Path) -> None:
    result = timeline(tmp_path, make_session.Cell("a", "a", blocks=40, energies={"measured": 1.0}))
    power = result.power_w[0]
    assert len(power.t_s) <= 2000
    assert len(power.t_s) <= 2 * BUCKETS
    means = [value for value in power.mean if value is not None]
    # Blocks of 2 s at 20 W and half a second at 5 W between them.
    assert sum(means) / len(means) == pytest.approx(17.0, rel=0.03)
    assert max(means) == pytest.approx(20, abs=0.6)


def test_gauges_are_scaled_and_keep_lowest_and_highest(tmp_path: Path) -> None:
    result = timeline(tmp_path, make_session.Cell("a", "a"))
    temperature = result.temperature_c[0]
    assert temperature.mean[0] == pytest.approx(50.0, abs=0.1)
    assert temperature.mean[-1] == pytest.approx(54.0, abs=0.1)
    assert all(
        low <= mean <= high
        for low, mean, high in zip(temperature.low, temperature.mean, temperature.high, strict=True)
        if low is not None and mean is not None and high is not None
    )
    assert 590 < (result.memory_mib[0][1][0].mean[0] or 0) < 610


def test_blocks_and_phases_are_spans_on_the_same_axis(tmp_path: Path) -> None:
    spans = timeline(tmp_path, make_session.Cell("a", "a", blocks=3)).spans
    kinds = [span.kind for span in spans]
    assert (kinds.count("block"), kinds.count("prefill"), kinds.count("decode")) == (3, 6, 6)
    assert spans[0].t0_s == 0
    assert all(span.t1_s > span.t0_s for span in spans)


def test_a_counter_that_steps_back_makes_no_spike(tmp_path: Path) -> None:
    cell = make_session.Cell("a", "a", status="unfinished", samples=False)
    path = make_session.write(tmp_path / "s", [cell])
    stream = make_session.SessionWriter(path).stream("a", "samples")
    for tick in range(400):
        # 20 W at 100 Hz, and a new process whose counter begins at 0 halfway.
        t_ns, raw = make_session.START_NS + tick * 10_000_000, tick % 200 * 200_000
        stream.append([SampleRow(t_ns=t_ns, channel="estimate/cpu", raw=raw, origin="tick")])
    stream.close()
    session = Session(path)
    timeline = read_timeline(session, "a", summarise(session).channels, {"estimate/cpu": 1e-6})
    assert set(timeline.power_w[0].mean) == {20.0}


def test_a_pause_between_samples_is_a_gap(tmp_path: Path) -> None:
    cell = make_session.Cell("a", "a", status="unfinished", samples=False)
    path = make_session.write(tmp_path / "s", [cell])
    stream = make_session.SessionWriter(path).stream("a", "samples")
    for tick in [*range(200), *range(6000, 6200)]:
        t_ns, raw = make_session.START_NS + tick * 10_000_000, tick * 200_000
        stream.append([SampleRow(t_ns=t_ns, channel="estimate/cpu", raw=raw, origin="tick")])
    stream.close()
    session = Session(path)
    timeline = read_timeline(session, "a", summarise(session).channels, {"estimate/cpu": 1e-6})
    assert timeline.power_w[0].mean.count(None) == 1


def test_the_memory_of_a_process_and_of_the_machine_have_their_own_panels(tmp_path: Path) -> None:
    path = make_session.write(tmp_path / "s", [make_session.Cell("a", "a")])
    session = Session(path)
    own = [c for c in summarise(session).channels if c.channel == "memory/rss"]
    both = [replace(own[0], domain="process"), replace(own[0], domain="machine")]
    timeline = read_timeline(session, "a", both, {})
    assert [domain for domain, _ in timeline.memory_mib] == ["process", "machine"]
    spec = timeline_spec(timeline, "a")
    names = [panel["data"]["name"] for panel in spec["vconcat"][1:]]
    assert names == ["memory-0", "memory-1"]
    assert spec["vconcat"][0]["layer"][0]["data"]["name"] == "spans"
    assert set(names) <= set(timeline_data(timeline))
