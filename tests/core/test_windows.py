"""From edges to joules: late edges in virtual time, and whole runs on fake sensors."""

from __future__ import annotations

import os
import random
import signal
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toyrun import Bench, Done, command_of, cpu_ticks_of, until

from joulebench.api import Channel, FileSource
from joulebench.meter.energy import Trace
from joulebench.meter.windows import Accountant, BlockWindows
from joulebench.protocol import Block, Edge, RequestRecord
from joulebench.runs.rows import block_joules
from joulebench.session import Session
from joulebench.session.tables import EnergyRow
from joulebench.testing.livefiles import NumberFile, ticking
from joulebench.testing.powercap import FakePowercap, PowercapZone, intel_zones
from joulebench.worker.windows import block_windows

IDLE_W, LOAD_W = 5.0, 50.0
#: The package of the whole runs.
UNLOADED_W, LOADED_W = 4.0, 20.0
PERIOD_S = 0.1


def _counter(**facts: object) -> Channel:
    whole: dict[str, object] = {
        "path": "slow/gpu-0",
        "quantity": "energy",
        "unit": "J",
        "kind": "counter",
        "source": FileSource("none"),
        "scale": 1e-3,
        "provenance": "simulated",
        "domain": "gpu-0",
        "update_period_s": PERIOD_S,
    }
    return Channel(**(whole | facts))  # type: ignore[arg-type]


def _request(edges: list[Edge]) -> RequestRecord:
    return RequestRecord(0, tuple(edges), 1, 1, 1.0, (1,), (), {}, None, None)


class SlowCounter:
    """Idle until ``start_s``, then a load; what it shows is up to ``PERIOD_S`` old."""

    def __init__(self, start_s: float, phase_s: float) -> None:
        self.start_s = start_s
        self.phase_s = phase_s

    def energy_j(self, t_s: float) -> float:
        return IDLE_W * min(t_s, self.start_s) + LOAD_W * max(0.0, t_s - self.start_s)

    def shown(self, t_s: float) -> int:
        updated_s = self.phase_s + (t_s - self.phase_s) // PERIOD_S * PERIOD_S
        return int(self.energy_j(updated_s) * 1e3)


def _block(counter: SlowCounter, duration_s: float, setup_s: float = 0.0) -> tuple[BlockWindows, Trace]:
    start_s, end_s = counter.start_s, counter.start_s + duration_s

    def edge(t_s: float, kind: str) -> Edge:
        return Edge(round(t_s * 1e9), kind, (counter.shown(t_s),))

    began_ns = round((start_s - setup_s) * 1e9)
    block = Block((_request([edge(start_s, "start"), edge(end_s, "end")]),), 0.0, began_ns)
    ticks = [start_s + 0.01 * number for number in range(int(duration_s / 0.01))]
    return block_windows(block), Trace([round(t * 1e9) for t in ticks], [counter.shown(t) for t in ticks])


def _bias(idle_w: float | None, duration_s: float, setup_s: float = 0.0) -> float:
    """Mean relative error over many blocks whose start is dithered."""
    accountant = Accountant([_counter()], [0], {})
    source = random.Random(4)
    errors: list[float] = []
    for _ in range(800):
        counter = SlowCounter(1.0 + source.uniform(0, PERIOD_S), 0.037)
        block, trace = _block(counter, duration_s, setup_s)
        (part,) = accountant.block_energies(block, {0: trace}, {0: idle_w})
        assert part.energy.gross_j is not None
        errors.append(part.energy.gross_j / (LOAD_W * duration_s) - 1)
    return sum(errors) / len(errors)


def test_a_slow_counter_reads_too_little_after_an_idle_wait_and_the_correction_mends_it() -> None:
    # T/2·(50 W - 5 W) of 50 W·3 s is 1.5 %.
    assert _bias(None, 3.0) == pytest.approx(-0.015, abs=0.002)
    assert _bias(IDLE_W, 3.0) == pytest.approx(0.0, abs=0.002)
    assert _bias(IDLE_W, 6.0) == pytest.approx(0.0, abs=0.002)  # end power by the trace


def test_the_correction_is_flagged_and_left_out_where_it_could_not_matter() -> None:
    accountant = Accountant([_counter()], [0], {})
    block, trace = _block(SlowCounter(1.0, 0.037), 3.0)
    (part,) = accountant.block_energies(block, {0: trace}, {0: IDLE_W})
    assert "edges_corrected" in part.energy.flags
    long, trace = _block(SlowCounter(1.0, 0.037), 60.0)
    (part,) = accountant.block_energies(long, {0: trace}, {0: IDLE_W})
    assert "edges_corrected" not in part.energy.flags


def test_a_block_whose_setup_went_before_is_not_corrected_by_idle_power() -> None:
    accountant = Accountant([_counter()], [0], {})
    block, trace = _block(SlowCounter(1.0, 0.037), 3.0, setup_s=0.5)
    (part,) = accountant.block_energies(block, {0: trace}, {0: IDLE_W})
    assert "edges_corrected" not in part.energy.flags


def test_requests_close_together_are_one_window_and_setups_between_them_are_left_out() -> None:
    def request(start: int, end: int) -> RequestRecord:
        edges = [Edge(start, "start", ()), Edge(start + 1, "decode", ()), Edge(end, "end", ())]
        return _request(edges)

    second = 1_000_000_000
    close = Block((request(0, second), request(second + 1000, 2 * second)), 0.0)
    assert [(s.start.t_ns, s.end.t_ns) for s in block_windows(close).phases["total"]] == [(0, 2 * second)]
    apart = Block((request(0, second), request(2 * second, 3 * second)), 0.0)
    assert len(block_windows(apart).phases["total"]) == 2
    assert len(block_windows(apart).phases["decode"]) == 2


def _row(provenance: str, gross_j: float | None, *, phase: str = "total", counted: bool = True) -> EnergyRow:
    return EnergyRow(
        cell_id="a",
        block=0,
        phase=phase,
        channel="c",
        domain="package",
        provenance=provenance,
        method="counter",
        counted=counted,
        gross_j=gross_j,
    )


def test_joules_of_a_block_never_mix_provenances_nor_add_what_lies_inside() -> None:
    rows = [
        _row("estimated", 9.0),
        _row("measured", 2.0),
        _row("measured", 3.0),
        _row("measured", 1.5, counted=False),
        _row("measured", 1.0, phase="prefill"),
    ]
    assert block_joules(rows) == 5.0
    assert block_joules(rows[:1]) == 9.0
    assert block_joules([*rows, _row("measured", None)]) is None
    assert block_joules([]) is None


# -- whole runs --------------------------------------------------------------------------------


class Truth:
    """What a fake package really used, noted each time that it was advanced."""

    def __init__(self, log: Path) -> None:
        lines = [line.split() for line in log.read_text().splitlines()]
        self._t_ns = [int(t) for t, _ in lines]
        self._joules = [float(j) for _, j in lines]

    def between(self, t0_ns: int, t1_ns: int) -> float:
        return self._at(t1_ns) - self._at(t0_ns)

    def _at(self, t_ns: int) -> float:
        after = bisect_right(self._t_ns, t_ns)
        t0, t1 = self._t_ns[after - 1], self._t_ns[after]
        j0, j1 = self._joules[after - 1], self._joules[after]
        return j0 + (j1 - j0) * (t_ns - t0) / (t1 - t0)

    def slack_j(self, *edges_ns: int) -> float:
        """What one update before each edge can be wrong by, at full power."""
        places = [bisect_right(self._t_ns, t) for t in edges_ns]
        gaps = [self._t_ns[min(p + 1, len(self._t_ns) - 1)] - self._t_ns[p - 2] for p in places]
        return LOADED_W * sum(gaps) * 1e-9


@contextmanager
def _powercap(bench: Bench, *, max_range_uj: int = 2**40, shown_every_s: float = 0.0) -> Iterator[FakePowercap]:
    """A live package that draws 20 W while the toy makes tokens and 4 W else."""
    load = bench.folder / "load"
    load.write_text("0")
    zone = PowercapZone("intel-rapl:0", "package-0", 0.0, max_range_uj)
    root = bench.folder / "powercap"
    root.mkdir()
    with FakePowercap(root, [zone]) as tree, ticking(_advance(bench, tree, shown_every_s), 0.001):
        yield tree


def _advance(bench: Bench, tree: FakePowercap, shown_every_s: float) -> Callable[[float], None]:
    """Integrates each millisecond, shows the sum now and then, as the slower counters do."""
    (zone,) = tree.zones
    file = NumberFile(tree.energy_file(zone.id), zone.shown_uj(0.0))
    load = os.open(bench.folder / "load", os.O_RDONLY)
    log = (bench.folder / "truth").open("w")
    gone = bench.folder / "gone"  # its presence takes the sensor away
    joules = since_s = 0.0

    def advance(seconds: float) -> None:
        nonlocal joules, since_s
        joules += seconds * (LOADED_W if os.pread(load, 1, 0) == b"1" else UNLOADED_W)
        since_s += seconds
        log.write(f"{time.perf_counter_ns()} {joules}\n")
        log.flush()
        if gone.exists():
            os.truncate(file.path, 0)
        elif since_s >= shown_every_s:
            since_s = since_s % shown_every_s if shown_every_s else 0.0
            file.write(zone.shown_uj(joules))

    return advance


def _toy(bench: Bench, **settings: object) -> dict[str, dict[str, object]]:
    return {"a": {"load_file": str(bench.folder / "load"), **settings}}


def _probes(tree: FakePowercap) -> dict[str, dict[str, object]]:
    return {"rapl": {"root": str(tree.root)}}


def _energies(done: Done) -> dict[tuple[object, object], dict[str, object]]:
    return {(row["block"], row["phase"]): row for row in done.rows("energy")}


def test_energy_of_blocks_and_phases_follows_the_power_through_every_wrap(bench: Bench) -> None:
    with _powercap(bench, max_range_uj=12_000_000) as tree:  # wraps each 0.6 s under load
        profile = bench.profile(
            _toy(bench, prefill_s=0.15, step_s=0.05),
            workload={"generate": {"prompts": "prompts.txt", "new_tokens": 7}},
            probes=_probes(tree),
            sampler={"calibrate_s": 0.3},
            idle_s=1.0,
        )
        done = bench.run(profile, "--no-report")
    assert done.code == 0, done.errors
    truth = Truth(bench.folder / "truth")
    rows = _energies(done)
    assert len(rows) == 9
    idle: list[dict[str, float | None]] = done.cell("a")["idle"]  # type: ignore[assignment]
    assert [power["when"] for power in idle] == ["before", "after"]
    powers_w = [power["power_w"] for power in idle if power["power_w"] is not None]
    assert powers_w == pytest.approx([UNLOADED_W] * len(powers_w), rel=0.1)
    compared = 0
    for block in done.rows("blocks"):
        total, prefill, decode = (rows[block["block"], phase] for phase in ("total", "prefill", "decode"))
        if None in (total["gross_j"], prefill["gross_j"], decode["gross_j"]):
            flags = {flag for row in (total, prefill, decode) for flag in row["flags"]}  # type: ignore[attr-defined]
            assert flags & {"insufficient_resolution", "counter_ambiguous"}
            continue
        compared += 1
        edges = int(str(block["t0_ns"])), int(str(block["t1_ns"]))
        gross_j, duration_s = float(str(total["gross_j"])), float(str(total["duration_s"]))
        assert (total["provenance"], total["method"]) == ("simulated", "counter")
        assert gross_j == pytest.approx(truth.between(*edges), abs=truth.slack_j(*edges))
        parts = float(str(prefill["gross_j"])) + float(str(decode["gross_j"]))
        assert parts == pytest.approx(gross_j, abs=truth.slack_j(edges[0]))
        if total["net_j"] is not None:
            idle_w = sum(powers_w) / len(powers_w)
            assert float(str(total["net_j"])) == pytest.approx(gross_j - idle_w * duration_s)
            assert float(str(total["net_u_j"])) >= float(str(total["gross_u_j"]))
        else:  # another load on this machine made idle drift, or kept the sampler from it
            reasons = {"idle_drift"} if len(powers_w) == len(idle) else {"no_idle_baseline", "idle_drift"}
            assert reasons & set(total["flags"])  # type: ignore[call-overload]
    if not compared:
        pytest.skip("other work kept the sampler from a counter that wraps each 0.6 s: no block has energy to compare")


def test_the_setup_of_a_decode_request_is_not_counted(bench: Bench) -> None:
    with _powercap(bench) as tree:
        profile = bench.profile(
            _toy(bench, prefill_s=0.3, step_s=0.05),
            workload={"decode": {"context": 16, "new_tokens": 4}},
            probes=_probes(tree),
            requests_per_block=2,
            min_blocks=2,
            max_blocks=2,
            warmup_requests=1,
        )
        done = bench.run(profile, "--no-report")
    truth = Truth(bench.folder / "truth")
    requests = done.rows("requests")
    for row in done.rows("energy"):
        own = [
            (int(str(request["t0_ns"])), int(str(request["t1_ns"])))
            for request in requests
            if request["block"] == row["block"]
        ]
        true_j = sum(truth.between(*edges) for edges in own)
        slack_j = sum(truth.slack_j(*edges) for edges in own)
        assert float(str(row["gross_j"])) == pytest.approx(true_j, abs=slack_j)
        whole_s = (own[-1][1] - own[0][0]) * 1e-9  # with the setup of the second request
        assert float(str(row["duration_s"])) <= whole_s - 0.3
        assert "edges_corrected" not in row["flags"]
    assert "no_idle_baseline" in done.cell("a")["flags"]
    assert all(row["net_j"] is None for row in done.rows("energy"))


def test_a_counter_that_is_updated_seldom_has_its_late_edges_made_good(bench: Bench) -> None:
    with _powercap(bench, shown_every_s=0.04) as tree:
        profile = bench.profile(
            _toy(bench, prefill_s=0.2, step_s=0.2),
            workload={"generate": {"prompts": "prompts.txt", "new_tokens": 7}},
            probes=_probes(tree),
            sampler={"calibrate_s": 0.6},
            idle_s=2.0,
            warmup_requests=1,
        )
        done = bench.run(profile, "--no-report")
    rows = [row for row in done.rows("energy") if row["phase"] == "total"]
    assert len(rows) == 3
    assert all("edges_corrected" in row["flags"] for row in rows)
    truth = Truth(bench.folder / "truth")
    true_j = [truth.between(int(str(row["t0_ns"])), int(str(row["t1_ns"]))) for row in done.rows("blocks")]
    assert sum(float(str(row["gross_j"])) for row in rows) == pytest.approx(sum(true_j), rel=0.05)


def test_a_power_gauge_of_a_reader_module_is_integrated(bench: Bench) -> None:
    profile = bench.profile(
        {"a": {"prefill_s": 0.5}}, probes={"toymeter": {"mode": "gauge", "milliwatts": 5000}}, idle_s=0.4
    )
    done = bench.run(profile, "--no-report")
    totals = [row for row in done.rows("energy") if row["phase"] == "total"]
    assert len(totals) == 3
    for row in totals:
        assert row["method"] == "integrated"
        assert "gauge_integrated" in row["flags"]
        assert float(str(row["gross_j"])) == pytest.approx(5 * float(str(row["duration_s"])))
        assert float(str(row["net_j"])) == pytest.approx(0.0, abs=1e-6)


def test_a_sensor_that_disappears_costs_its_energy_and_nothing_else(bench: Bench) -> None:
    with _powercap(bench) as tree:
        # Blocks that last, so that a machine with other work sees the first one before the last begins.
        profile = bench.profile(_toy(bench, prefill_s=0.5), probes=_probes(tree), min_blocks=4, max_blocks=4)
        started = bench.start(profile, "--no-report")
        until(started.blocks, "a block")
        (bench.folder / "gone").touch()
        started.process.communicate(timeout=300)
    assert started.process.returncode == 0
    session = Session(started.session_folder())
    rows = {row["block"]: row for row in session.table("energy").to_pylist() if row["phase"] == "total"}
    assert rows[0]["gross_j"] is not None, rows[0]["flags"]
    assert rows[3]["gross_j"] is None
    assert "sensor_lost" in rows[3]["flags"]
    blocks = session.table("blocks").to_pylist()
    assert len(blocks) == 4
    assert blocks[3]["duration_s"] > 0
    events = [row for row in session.table("events").to_pylist() if row["kind"] == "sensor_fault"]
    assert events
    assert {row["detail"] for row in events} == {"rapl/package-0"}


def test_without_its_sampler_a_cell_keeps_its_times_and_loses_its_energy(bench: Bench) -> None:
    with _powercap(bench) as tree:
        profile = bench.profile(_toy(bench, prefill_s=0.1), probes=_probes(tree), min_blocks=6, max_blocks=6)
        started = bench.start(profile, "--no-report")
        until(started.blocks, "a block")
        (sampler,) = [pid for pid in started.children() if "sampler.py" in command_of(pid)]
        os.kill(sampler, signal.SIGKILL)
        _, errors = started.process.communicate(timeout=300)
    assert started.process.returncode == 0, errors
    session = Session(started.session_folder())
    rows = {row["block"]: row for row in session.table("energy").to_pylist() if row["phase"] == "total"}
    assert rows[5]["gross_j"] is None
    assert "sampler_lost" in rows[5]["flags"]
    (cell,) = session.cells().to_pylist()
    assert (cell["status"], cell["blocks"]) == ("ok", 6)
    assert "sampler_lost" in cell["flags"]
    assert cell["rss_peak_bytes"] > 0
    events = [row["kind"] for row in session.table("events").to_pylist()]
    assert events.count("sampler_lost") == 1


def test_a_reader_that_ends_its_process_costs_its_own_channels_and_no_others(bench: Bench) -> None:
    with _powercap(bench) as tree:
        probes = {**_probes(tree), "toymeter": {"mode": "fatal"}}
        # Blocks of 20 update periods and more, which an idle machine makes no longer than they are asked to be.
        profile = bench.profile(_toy(bench, prefill_s=0.05), probes=probes, idle_s=0.2)
        done = bench.run(profile, "--no-report")
    assert done.code == 0, done.errors
    assert "sampler_lost" in done.cell("a")["flags"]  # type: ignore[operator]
    assert [row["gross_j"] is None for row in done.rows("energy") if row["phase"] == "total"] == [False] * 3
    assert len(done.rows("blocks")) == 3


def test_samples_that_the_ring_could_not_hold_are_noted_as_an_event(bench: Bench) -> None:
    """The parent is stopped within a block while the sampler reads much as fast as it can."""
    root = bench.folder / "many"
    root.mkdir()
    FakePowercap(root, intel_zones(packages=16)).close()
    profile = bench.profile(
        {"a": {"prefill_s": 2.0}},
        probes={"rapl": {"root": str(root)}},
        sampler={"energy_hz": 20_000.0},
        min_blocks=2,
        max_blocks=2,
        warmup_requests=1,
    )
    started = bench.start(profile, "--no-report")
    until(started.blocks, "the first block")
    (sampler,) = [pid for pid in started.children() if "sampler.py" in command_of(pid)]
    time.sleep(0.2)
    started.process.send_signal(signal.SIGSTOP)
    spent = cpu_ticks_of(sampler)
    until(lambda: cpu_ticks_of(sampler) >= spent + 150, "1.5 s of reading")
    started.process.send_signal(signal.SIGCONT)
    started.process.communicate(timeout=300)
    events = Session(started.session_folder()).table("events").to_pylist()
    (lost,) = [row for row in events if row["kind"] == "samples_lost" and row["block"] == 1]
    assert int(lost["detail"].split()[0]) > 0


def test_blocks_too_short_for_the_sensor_are_refused_before_a_session_is_begun(bench: Bench) -> None:
    with _powercap(bench) as tree:
        profile = bench.profile(_toy(bench), probes=_probes(tree), requests_per_block=None, block_s=0.012)
        done = bench.run(profile, "--no-report")
    assert done.code == 2
    assert "blocks of 0.012 s are too short for rapl/package-0" in done.errors
    assert "--set protocol.block_s=" in done.errors
    assert done.folder is None
