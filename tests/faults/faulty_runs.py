"""Whole runs of the command over faulty sensors: what each block states is held against the power that was there."""

from __future__ import annotations

import contextlib
import math
import os
import random
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from judged import Judged
from powercap_faults import ZONE, advancing, jittered, spoil_before, spoil_during
from toyrun import Bench, Done

from joulebench.session.tables import BlockRow, EnergyRow, RequestRow
from joulebench.session.upkeep import verify
from joulebench.testing.livefiles import ticking
from joulebench.testing.powercap import FakePowercap, PowercapZone
from joulebench.testing.stub_nvml import GPU_IS_LOST, NO_PERMISSION, NOT_SUPPORTED, StubGpus, build
from joulebench_reports.summary.session import summarise

_SOUND_W = 20.0
#: What a block on a busy machine may miss of the truth besides what it states itself.
_SLACK_SHARE, _SLACK_S = 0.03, 0.03
#: What a sound counter may be null for where others use the machine: nobody saw when it changed.
_BUSY = {"update_period_unverified", "insufficient_resolution", "samples_missing"}
#: A run is in its blocks at this time.
_MIDDLE_S = (3.5, 6.5)
#: Joules of a domain between two moments of the monotonic clock, in ns.
Truth = Callable[[int, int], float]

RUN_FAULTS = (
    *("none", "frozen", "missing", "slow", "bursts", "gone", "reset", "jump", "flicker", "garbage", "jitter"),
    *("denied-later", "emptied", "backwards", "huge", "text", "another"),
)
GPU_FAULTS = ("none", "lost", "frozen", "no counter", "no power", "reset", "slow", "refused later", "huge", "zero")


def _profile(bench: Bench, probes: dict[str, dict[str, object]]) -> Path:
    return bench.profile(
        {"a": {"prefill_s": 0.2, "step_s": 0.1}},
        probes=probes,
        sampler={"calibrate_s": 1.0},
        idle_s=0.3,
        warmup_requests=1,
        min_blocks=5,
        max_blocks=5,
    )


def powercap_run(folder: Path, fault: str, rng: random.Random) -> Judged:
    """A run over the real RAPL probe and a fake tree of two packages, the first with the fault."""
    watts, burst_s = rng.uniform(10.0, 150.0), rng.uniform(0.05, 0.2)
    period_s = rng.uniform(0.02, 0.04) if fault == "slow" else 0.005

    at_s = rng.choice((0.0, rng.uniform(*_MIDDLE_S)))

    def shown_w(seconds: float) -> float:
        if fault == "bursts":
            return watts if seconds % (2 * burst_s) < burst_s else 2.0
        return 0.0 if fault == "frozen" and seconds >= at_s else watts

    zones = [
        PowercapZone(ZONE, "package-0", shown_w, start_uj=12_345_678),
        PowercapZone("intel-rapl:1", "package-1", _SOUND_W),
    ]
    bench = Bench(folder / "bench", dict(os.environ))
    with FakePowercap(folder / "tree", zones) as tree:
        # The other package goes on where one is frozen.
        advance = tree.advance if fault == "frozen" else advancing(tree, fault, at_s, rng)
        spoil_before(tree.energy_file(ZONE), fault, rng)
        later = threading.Timer(rng.uniform(*_MIDDLE_S), spoil_during, (tree.energy_file(ZONE), fault, rng))
        profile = _profile(bench, {"rapl": {"root": str(tree.root)}})
        with (
            jittered(advance, period_s, rng) if fault == "jitter" else ticking(advance, period_s),
            _recorded(tree) as shown,
        ):
            later.start()
            done = bench.run(profile, "--no-report", "--quiet")
            later.join()
        first: Truth = shown if fault == "bursts" else _constant(watts)
        return _judged(done, ("rapl/package-0", first, watts), ("rapl/package-1", _constant(_SOUND_W), _SOUND_W))


def gpu_run(folder: Path, fault: str, rng: random.Random) -> Judged:
    """A run over the real NVML probe and a stub of the driver's library with two GPUs, the first with the fault."""
    watts = rng.uniform(50.0, 400.0)
    (folder / "library").mkdir()
    build(folder / "library")
    gpus = StubGpus(folder / "library")
    gpus.set(devices=2, watts=_SOUND_W, energy_mj=5_000_000, update_ms=10)
    gpus.set(device=0, watts=watts, update_ms=40 if fault == "slow" else 10)
    gpus.count_from_now()
    bench = Bench(folder / "bench", {**os.environ, **gpus.environment()})
    _spoil_gpu(gpus, fault)
    later = threading.Timer(rng.uniform(*_MIDDLE_S), _spoil_gpu_later, (gpus, fault))
    later.start()
    done = bench.run(_profile(bench, {"nvml": {}}), "--no-report", "--quiet")
    later.join()
    gauge = fault in ("no counter", "zero")
    first = f"nvml/gpu-0/{'power' if gauge else 'energy'}"
    return _judged(done, (first, _constant(watts), watts), ("nvml/gpu-1/energy", _constant(_SOUND_W), _SOUND_W))


_ENERGY, _POWER = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"


def _spoil_gpu(gpus: StubGpus, fault: str) -> None:
    if fault == "frozen":
        gpus.set(device=0, since_ns=0)
    elif fault in ("no counter", "zero"):
        gpus.fail(_ENERGY, NOT_SUPPORTED, device=0)
        gpus.set(device=0, **({"watts": 0.0} if fault == "zero" else {}))
    elif fault == "no power":
        gpus.fail(_POWER, NOT_SUPPORTED, device=0)


def _spoil_gpu_later(gpus: StubGpus, fault: str) -> None:
    if fault == "lost":
        for call in (_ENERGY, _POWER, "nvmlDeviceGetTemperature"):
            gpus.fail(call, GPU_IS_LOST, device=0)
    elif fault == "refused later":
        gpus.fail(_ENERGY, NO_PERMISSION, device=0)
    elif fault == "reset":
        gpus.set(device=0, energy_mj=0, since_ns=time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    elif fault == "huge":
        gpus.set(device=0, energy_mj=2.0**62)


@contextlib.contextmanager
def _recorded(tree: FakePowercap) -> Iterator[Truth]:
    """What the first zone has really used, at any time from now to the end."""
    times, joules = [time.perf_counter_ns()], [tree.joules(ZONE)]
    end = threading.Event()

    def record() -> None:
        while not end.wait(0.002):
            times.append(time.perf_counter_ns())
            joules.append(tree.joules(ZONE))

    def until(t_ns: int) -> float:
        place = min(max(bisect_right(times, t_ns), 1), len(times) - 1)
        share = (t_ns - times[place - 1]) / max(times[place] - times[place - 1], 1)
        return joules[place - 1] + share * (joules[place] - joules[place - 1])

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield lambda t0_ns, t1_ns: until(t1_ns) - until(t0_ns)
    finally:
        end.set()
        thread.join()


def _constant(watts: float) -> Truth:
    return lambda t0_ns, t1_ns: watts * (t1_ns - t0_ns) * 1e-9


def _judged(done: Done, bad: tuple[str, Truth, float], good: tuple[str, Truth, float]) -> Judged:
    """The worst that a run states of the faulty channel; the other one must be right all through."""
    if done.code not in (0, 1) or "Traceback" in done.errors or done.folder is None:
        return Judged("traceback", f"exit code {done.code}: {done.errors[-500:]}")
    if problems := verify(done.folder):
        return Judged("wrong", f"the session does not verify: {problems}")
    blocks, energy = done.session.rows(BlockRow), done.session.rows(EnergyRow)
    requests = done.session.rows(RequestRow)
    if not blocks:
        return Judged("wrong", f"no block was measured: {done.cell('a')['cause']}")
    sound = [_block(block, energy, requests, *good) for block in blocks]
    if any(judged.outcome != "held" and not _BUSY & set(judged.flags) for judged in sound):
        return Judged("dragged", "; ".join(judged.words for judged in sound))
    faulty = [_block(block, energy, requests, *bad) for block in blocks]
    for outcome in ("wrong", "silent"):
        if worst := [judged for judged in faulty if judged.outcome == outcome]:
            return worst[0]
    nulls = sum(judged.outcome == "null" for judged in faulty)
    summary = summarise(done.session).cells[0]
    flags = {flag.flag for flag in summary.flags}
    if nulls == len(faulty) and summary.headline.value is not None and "parts_missing" not in flags:
        return Judged("short total", f"{summary.headline} with {flags}")
    return Judged("null" if nulls else "held", f"{nulls} of {len(faulty)} blocks without energy; {sorted(flags)}")


def _block(
    block: BlockRow,
    energy: Sequence[EnergyRow],
    requests: Sequence[RequestRow],
    channel: str,
    truth: Truth,
    power_w: float,
) -> Judged:
    """What a block states of a channel."""
    rows = [row for row in energy if (row.channel, row.block, row.phase) == (channel, block.block, "total")]
    if not rows:  # the channel is not among those of the session: its probe says why, or the total does
        return Judged("null", "no channel")
    (row,) = rows
    if row.gross_j is None:
        return Judged("null" if row.flags else "silent", f"block {block.block}: {row.flags}", row.flags)
    edges = [(r.t0_ns, r.t1_ns) for r in requests if r.block == block.block]
    true_j = math.fsum(truth(t0_ns, t1_ns) for t0_ns, t1_ns in edges if t0_ns is not None and t1_ns is not None)
    slack_j = _SLACK_SHARE * true_j + _SLACK_S * power_w + 4 * (row.gross_u_j or 0.0)
    words = f"block {block.block}: {row.gross_j:.4g} J of {true_j:.4g} ± {slack_j:.3g} {row.flags}"
    return Judged("held" if abs(row.gross_j - true_j) <= slack_j else "wrong", words)
