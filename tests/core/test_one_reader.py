"""A plugin's reader is open in one process at a time, whatever is measured with it.

Two readers of a serial line take each other's answers, and a reader that keeps what it saw shows another
count in each process. The fakes are locked, so that a second process cannot open them.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toyrun import EXAMPLE_PLUGIN, Bench, Done

from joulebench.api import Availability, Channel, Probe, ReaderSource
from joulebench.meter.energy import Trace
from joulebench.meter.live import sampler as ring
from joulebench.meter.live.owner import JointSampler, ReaderOwner
from joulebench.meter.live.sampling import Sampler
from joulebench.meter.windows import TOTAL, Accountant, BlockWindows, Span
from joulebench.metering.meter import Meter
from joulebench.protocol import Edge
from joulebench.sensors.gate import Thermometer
from joulebench.sensors.probing import ProbeState, Sensors
from joulebench.testing.contracts import ProbeContract, Subject

WATTS = 20.0
#: Three times what the update period of 20 ms and the sampling period of 20 ms need: room for other work.
WINDOW_S = 2.4


class FakeLine:
    """A meter at the other end of a pseudo-terminal, for one reader: 20 W since the start."""

    def __init__(self) -> None:
        self._device, self._line = os.openpty()
        tty.setraw(self._line)
        self.path = os.ttyname(self._line)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        waiting = b""
        while not self._ended.is_set():
            if select.select([self._device], [], [], 0.05)[0]:
                waiting += os.read(self._device, 64)
            while b"\n" in waiting:
                _, _, waiting = waiting.partition(b"\n")
                now_ns = time.perf_counter_ns()
                os.write(self._device, f"{WATTS * now_ns * 1e-9:.6f} {now_ns}\n".encode())

    def close(self) -> None:
        """Unplug it."""
        self._ended.set()
        self._thread.join()
        os.close(self._device)
        os.close(self._line)


@pytest.fixture
def line() -> Iterator[FakeLine]:
    made = FakeLine()
    yield made
    made.close()


def _run(bench: Bench, mode: str, device: Path | str) -> Done:
    """Two cells in turns, with calibration and idle baselines."""
    profile = bench.profile(
        {"a": {"prefill_s": WINDOW_S}, "b": {"prefill_s": WINDOW_S}},
        probes={"toymeter": {"mode": mode, "device": str(device)}},
        sampler={"calibrate_s": 0.6},
        idle_s=0.4,
        min_blocks=2,
        max_blocks=2,
        warmup_requests=1,
    )
    return bench.run(profile, "--no-report")


def _check_energies(done: Done) -> None:
    assert done.code == 0, done.errors
    rows = [row for row in done.rows("energy") if row["phase"] == "total"]
    assert len(rows) == 4
    for row in rows:
        assert row["gross_j"] == pytest.approx(WATTS * row["duration_s"], rel=0.06), row["flags"]  # type: ignore[operator]
    assert not [row for row in done.rows("events") if row["kind"] == "sensor_fault"]
    assert all("sampler_lost" not in cell["flags"] for cell in done.session.cells().to_pylist())


def test_a_caching_counter_is_read_by_one_process_in_a_run(bench: Bench) -> None:
    log = bench.folder / "opened"
    done = _run(bench, "caching", log)
    _check_energies(done)
    assert all("counter_reset" not in row["flags"] for row in done.rows("energy"))  # type: ignore[operator]
    # Once while it is calibrated, once for the whole run.
    assert len(log.read_text().split()) == 2


def test_a_serial_line_serves_a_run_of_two_cells(bench: Bench, line: FakeLine) -> None:
    _check_energies(_run(bench, "line", line.path))


def test_doctor_reads_it_too(bench: Bench, line: FakeLine) -> None:
    words = [sys.executable, "-m", "joulebench", "doctor", "--json", "--seconds", "0.5"]
    settings = ['probe.toymeter.mode="line"', f'probe.toymeter.device="{line.path}"']
    words += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(words, env=bench.environment, capture_output=True, text=True, timeout=60, check=False)
    calibrations = {entry["channel"]: entry for entry in json.loads(done.stdout)["calibration"]}
    assert calibrations["toymeter/counter"]["changes"] > 10


def _channel(reader: str, device: Path | str, period_s: float | None, rate_hz: float = 50.0) -> Channel:
    source = ReaderSource(f"joulebench_toy.reader:{reader}", str(device))
    return Channel(
        "toymeter/counter",
        "energy",
        "J",
        "counter",
        source,
        1e-3,
        "simulated",
        "board",
        rate_hz=rate_hz,
        update_period_s=period_s,
    )


def _meter(channel: Channel, calibrate_s: float = 0.6) -> Meter:
    state = ProbeState("toymeter", Availability.yes(), (channel,))
    return Meter(sensors=Sensors((state,), (channel,)), calibrate_s=calibrate_s)


@pytest.fixture
def toy_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE_PLUGIN))


@pytest.mark.usefixtures("toy_readers")
def test_windows_of_measure_have_their_readings_from_the_sampler_alone(tmp_path: Path) -> None:
    log = tmp_path / "opened"
    with _meter(_channel("Caching", log, 0.02)) as meter:
        meter.measure_idle(0.5)
        with meter.measure() as m:
            time.sleep(WINDOW_S)
    (figure,) = m.energy
    assert figure.gross_j == pytest.approx(WATTS * m.seconds, rel=0.06), figure.flags
    assert figure.net is not None
    assert figure.net.u_j is not None
    assert figure.net_j == pytest.approx(0.0, abs=3 * figure.net.u_j)
    assert figure.interval is not None
    assert figure.interval.low is not None
    assert figure.interval.low <= WATTS * m.seconds <= (figure.interval.high or 0.0)
    assert str(os.getpid()) not in log.read_text().split()
    assert len(log.read_text().split()) == 2


@pytest.mark.usefixtures("toy_readers")
def test_a_window_shorter_than_twenty_of_its_readings_has_no_energy(line: FakeLine) -> None:
    """The line answers each ms; it is asked every 20 ms."""
    with _meter(_channel("Line", line.path, 0.001)) as meter:
        with meter.measure() as short:
            time.sleep(0.2)
        with meter.measure() as long:
            time.sleep(WINDOW_S)
    assert (short.energy[0].gross_j, short.energy[0].flags[0]) == (None, "insufficient_resolution")
    assert long.energy[0].gross_j == pytest.approx(WATTS * long.seconds, rel=0.05)


@pytest.mark.usefixtures("toy_readers")
def test_a_reading_with_its_own_time_is_recorded_once_and_under_that_time(line: FakeLine) -> None:
    with Sampler([_channel("Line", line.path, 0.001)], None) as sampler:
        time.sleep(0.3)
        trace = sampler.drain().traces()[0]
    assert trace.stamped
    for t_ns, raw in zip(trace.t_ns, trace.raw, strict=True):
        assert raw == pytest.approx(WATTS * t_ns * 1e-6, abs=2)


@pytest.mark.parametrize(
    ("items", "own_ns"), [([(5, 9)], 9), ([5], None), ([(5, 2.5)], None), ([(5,)], None), ([None], None)]
)
def test_the_time_of_a_reading_is_a_whole_number_of_ns(items: list[object], own_ns: int | None) -> None:
    assert ring.own_time(items, 0) == own_ns  # type: ignore[arg-type]


# -- the arithmetic: what is held at an edge ---------------------------------------------------------


def _blocks(every_s: float, period_s: float, *, stamped: bool, blocks: int = 400) -> list[float]:
    """Relative errors of blocks of 60 W after 10 W of idleness, by a counter sampled now and then."""
    source = random.Random(3)
    channel = _channel("Line", "", period_s, 1 / every_s)
    accountant = Accountant([channel], [], {})
    duration_s = 25 * (period_s + every_s)
    errors = []
    for _ in range(blocks):
        start_s = 5.0 + source.random() * (period_s + every_s)
        end_s = start_s + duration_s
        phase_s, tick_s = source.random() * period_s, source.random() * every_s

        def joules(t_s: float) -> float:
            return 10.0 * t_s + 50.0 * min(max(0.0, t_s - start_s), duration_s)  # noqa: B023

        times, raws = [], []
        for number in range(int((end_s + 1 - 4) / every_s)):
            t_s = 4 + tick_s + number * every_s
            shown_s = t_s - (t_s - phase_s) % period_s
            times.append(round(1e9 * (shown_s if stamped else t_s)))
            raws.append(int(joules(shown_s) * 1e3))
        edges = [Edge(round(t * 1e9), kind, ()) for t, kind in ((start_s, "start"), (end_s, "end"))]
        windows = BlockWindows(edges[0].t_ns, edges[1].t_ns, {TOTAL: [Span(*edges)]}, edges[0].t_ns)
        (total,) = accountant.block_energies(windows, {0: Trace(times, raws, stamped)}, {0: 10.0})
        assert total.energy.gross_j is not None, total.energy.flags
        errors.append(total.energy.gross_j / (60.0 * duration_s) - 1)
    return errors


@pytest.mark.parametrize(("every_s", "period_s"), [(0.01, 0.05), (0.1, 0.02), (0.02, 0.02)])
@pytest.mark.parametrize("stamped", [False, True])
def test_what_a_held_reading_lacks_at_the_edges_is_made_good(every_s: float, period_s: float, stamped: bool) -> None:
    errors = _blocks(every_s, period_s, stamped=stamped)
    assert sum(errors) / len(errors) == pytest.approx(0.0, abs=0.002)
    assert max(map(abs, errors)) < 1 / 20


# -- the run's owner ------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy_readers")
def test_the_thermal_gate_asks_the_owner_of_a_reader_for_its_temperature(tmp_path: Path) -> None:
    board = _channel("Line", "", None)
    hot = replace(board, path="toymeter/heat", quantity="temperature", unit="degC", kind="gauge")
    channel = replace(hot, source=ReaderSource("joulebench_toy.reader:Gauge", "61500"))
    with ReaderOwner([board, channel]) as owner:
        assert Thermometer([board, channel], owner).hottest_c() == 61.5
        assert owner.alive
    assert not owner.alive


@pytest.mark.usefixtures("toy_readers")
def test_an_owner_that_has_died_is_replaced_with_the_next_leg(tmp_path: Path) -> None:
    log = tmp_path / "opened"
    with ReaderOwner([_channel("Caching", log, 0.02)]) as owner:
        owner.open()
        (first,) = map(int, log.read_text().split())
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 5.0
        while owner.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        owner.open()
        owner.open()  # and no further one
        assert owner.now()
    assert len(log.read_text().split()) == 2


@pytest.mark.usefixtures("toy_readers")
def test_what_the_owner_cost_is_counted_while_a_cell_has_it(line: FakeLine) -> None:
    channels = [_channel("Line", line.path, 0.001)]
    with ReaderOwner(channels) as owner:
        owner.open()
        joint = JointSampler(channels, None, owner)
        time.sleep(0.2)  # another cell's turn
        joint.resume()
        time.sleep(0.2)
        joint.pause()
        drained, tax = joint.drain(), joint.tax()
    assert drained.channel
    assert 0.15 < tax.wall_s < 1.0
    assert tax.ticks >= 2


class TestALineOfOneReader(ProbeContract):
    """The contract of probes and ``plugin check`` open it once at a time as well."""

    @pytest.fixture
    def plugin(self, line: FakeLine, monkeypatch: pytest.MonkeyPatch) -> Subject[Probe]:
        monkeypatch.syspath_prepend(str(EXAMPLE_PLUGIN))
        from joulebench_toy.probe import ToyMeter

        return Subject(ToyMeter(), {"mode": "line", "device": line.path})
