from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest

from joulebench.session.schema import REQUESTS
from joulebench_reports.reading.phasefit import fit_missing_phases, with_fitted_phases
from joulebench_reports.reading.rows import StoredRequest, rows_of
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import ChannelReport, EnergySummary

PERIOD_NS = 100_000_000  # a counter that is updated ten times a second
PREFILL_S, DECODE_S = 0.001, 0.02  # a token's time
PREFILL_W, DECODE_W = 60.0, 20.0
#: Ten requests a block, ten blocks a process.
PROCESSES = {block: block // 10 for block in range(40)}
MISSING = Figure(None, "J/token", reason_if_null="too short for this sensor")


@dataclass(frozen=True)
class CounterTrace:
    """What was read of the one counter: at the edges of requests, or by the sampler between them."""

    edges: dict[int, int] = field(default_factory=dict)
    read: tuple[tuple[int, int], ...] = ()

    def at_edges(self, channel: str) -> dict[int, int]:
        return self.edges

    def ticks(self, channel: str) -> tuple[list[int], list[int]]:
        return [t_ns for t_ns, _ in self.read], [raw for _, raw in self.read]


def channel(kind: str = "counter") -> ChannelReport:
    return ChannelReport(
        channel="meter/energy",
        quantity="energy",
        unit="J",
        kind=kind,
        provenance="measured",
        domain="machine",
        counted=True,
        scale=1e-6,
        wraps_at=None,
        update_period_s=0.1,
        measured_period_s=None,
        resolution=None,
        relative_uncertainty=None,
        offset_u_w=None,
        note=None,
    )


def summary(prefill: Figure = MISSING, decode: Figure = MISSING) -> EnergySummary:
    any_figure = Figure(1.0, "J/token")
    return EnergySummary(
        "measured",
        ("meter/energy",),
        ("counter",),
        any_figure,
        any_figure,
        any_figure,
        any_figure,
        any_figure,
        any_figure,
        any_figure,
        (("prefill", prefill), ("decode", decode)),
        None,
        (),
    )


def measured_requests(
    count: int = 400, equal: bool = False, tick_ns: int | None = None, wraps_at: int = 10**18
) -> tuple[list[StoredRequest], CounterTrace]:
    """Requests of known energy, and the stale counter's readings at their edges or (``tick_ns``) between them."""
    rng = random.Random(3)
    now_ns, joules = 0, 0.0
    history = [(0, 0.0)]
    requests: list[dict[str, int]] = []

    def raw(t_ns: int) -> int:
        shown_ns = t_ns // PERIOD_NS * PERIOD_NS
        before = max(i for i, (t, _) in enumerate(history) if t <= shown_ns)
        t0, e0 = history[before]
        if before + 1 == len(history):
            return round(e0 * 1e6)
        t1, e1 = history[before + 1]
        return round((e0 + (e1 - e0) * (shown_ns - t0) / (t1 - t0)) * 1e6)

    for _ in range(count):
        prefill, decode = (100, 20) if equal else (rng.randint(10, 800), rng.randint(4, 60))
        start_ns = now_ns
        for seconds, watts in ((prefill * PREFILL_S, PREFILL_W), (decode * DECODE_S, DECODE_W)):
            now_ns += round(seconds * 1e9)
            joules += seconds * watts
            history.append((now_ns, joules))
        sizes = {"prefill_tokens": prefill, "decode_tokens": decode}
        requests.append({"t0_ns": start_ns, "t1_ns": now_ns, "block": len(requests) // 10, **sizes})
    rows = rows_of(pa.Table.from_pylist(requests, schema=REQUESTS), StoredRequest)
    if tick_ns is not None:
        ticks = range(-tick_ns // 3, now_ns + tick_ns, tick_ns)
        return rows, CounterTrace(read=tuple((t_ns, raw(max(t_ns, 0)) % wraps_at) for t_ns in ticks))
    edges = (request[edge] for request in requests for edge in ("t0_ns", "t1_ns"))
    return rows, CounterTrace({t_ns: raw(t_ns) for t_ns in edges})


def test_phases_too_short_for_the_counter_are_told_apart_by_the_fit() -> None:
    requests, samples = measured_requests()
    fitted = dict(with_fitted_phases(summary(), requests, samples, [channel()], PROCESSES).phases)
    prefill, decode = fitted["prefill"], fitted["decode"]
    assert prefill.value == pytest.approx(PREFILL_S * PREFILL_W, rel=0.03)
    assert decode.value == pytest.approx(DECODE_S * DECODE_W, rel=0.03)
    assert prefill.low is not None
    assert prefill.high is not None
    assert prefill.low < PREFILL_S * PREFILL_W < prefill.high
    assert "fit" in decode.method


@pytest.mark.parametrize("wraps_at", [10**18, 200_000_000])
def test_a_counter_that_the_sampler_alone_reads_is_fitted_between_its_readings(wraps_at: int) -> None:
    requests, readings = measured_requests(tick_ns=70_000_000, wraps_at=wraps_at)
    meter = replace(channel(), wraps_at=None if wraps_at == 10**18 else wraps_at)
    fitted = dict(with_fitted_phases(summary(), requests, readings, [meter], PROCESSES).phases)
    for name, joules in (("prefill", PREFILL_S * PREFILL_W), ("decode", DECODE_S * DECODE_W)):
        figure = fitted[name]
        assert figure.value == pytest.approx(joules, rel=0.05)
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < joules < figure.high


def test_between_readings_that_lie_far_apart_nothing_is_made_up() -> None:
    requests, readings = measured_requests(count=50, tick_ns=70_000_000)
    few = CounterTrace(read=tuple(readings.read[:20] + readings.read[-20:]))
    fitted = dict(with_fitted_phases(summary(), requests, few, [channel()], PROCESSES).phases)
    assert fitted["decode"].value is None
    assert "no fit" in (fitted["decode"].reason_if_null or "")


def test_a_phase_with_windows_of_its_own_keeps_them() -> None:
    requests, samples = measured_requests()
    own = Figure(0.123, "J/token", method="counter")
    fitted = dict(with_fitted_phases(summary(decode=own), requests, samples, [channel()], PROCESSES).phases)
    assert fitted["decode"] == own
    assert fitted["prefill"].value is not None


def test_equal_requests_tell_nothing_and_the_reason_says_so() -> None:
    requests, samples = measured_requests(count=50, equal=True)
    fitted = dict(with_fitted_phases(summary(), requests, samples, [channel()], PROCESSES).phases)
    assert fitted["prefill"].value is None
    assert "no fit" in (fitted["prefill"].reason_if_null or "")


def test_a_gauge_is_not_fitted() -> None:
    requests, samples = measured_requests(count=50)
    fitted = dict(with_fitted_phases(summary(), requests, samples, [channel("gauge")], PROCESSES).phases)
    assert "not a counter" in (fitted["decode"].reason_if_null or "")


def test_samples_are_not_read_where_no_phase_is_missing() -> None:
    own = Figure(0.5, "J/token")

    class Unread:
        def at_edges(self, channel: str) -> dict[int, int]:
            raise AssertionError(f"readings of {channel} were read")

        def ticks(self, channel: str) -> tuple[list[int], list[int]]:
            raise AssertionError(f"readings of {channel} were read")

    summaries = [summary(own, own)]
    assert fit_missing_phases(summaries, [], [], Unread(), {}) == tuple(summaries)
