"""Measures one window after another over a faulty sensor and judges what is stated, in a process that may hang.

Cases come in on standard input, a JSON object a line; a line of JSON with what became of each goes out.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faulty_reader import Meter as Truth
from faulty_runs import GPU_FAULTS, RUN_FAULTS, gpu_run, powercap_run
from judged import Judged
from powercap_faults import HUGE, NO_NUMBERS, POWERCAP_FAULTS, ZONE, advancing, jittered, spoil_before, spoil_during

from joulebench.api import Availability, Channel, FileSource, ReaderSource
from joulebench.metering.meter import Meter
from joulebench.registry.loading import default_registry
from joulebench.sensors.gate import Thermometer
from joulebench.sensors.probing import ProbeChoices, ProbeState, Sensors, inspect_probes
from joulebench.testing.hwmon import Chip, FakeTemperatures, HwmonSensor
from joulebench.testing.livefiles import ticking
from joulebench.testing.powercap import FakePowercap, PowercapZone

_AGAIN = "JOULEBENCH_FAULTS_AGAIN"
#: prctl(2) and capabilities(7).
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2
_UPDATES_S = (0.001, 0.002, 0.01)
#: What a window on a busy machine may miss of the truth besides what it states itself.
_SLACK_SHARE, _SLACK_S = 0.03, 0.02


def _judge(window: Any, path: str, least_j: float, most_j: float, power_w: float) -> Judged:
    figures = [figure for figure in window.energy if figure.name == path]
    told = f"flags {[figure.flags for figure in figures]} notes {window.notes[:2]}"
    stated = figures[0].gross_j if figures else None
    if stated is None:
        flagged = not figures or figures[0].flags
        return Judged("null" if flagged and window.notes else "silent", told)
    bound_j = max(figures[0].worst_j or 0.0, 4 * (figures[0].gross.u_j or 0.0))
    slack_j = _SLACK_SHARE * most_j + _SLACK_S * power_w + bound_j
    right = least_j - slack_j <= stated <= most_j + slack_j
    return Judged(
        "held" if right else "wrong", f"{stated:.4g} J of {least_j:.4g} to {most_j:.4g} ± {slack_j:.3g}; {told}"
    )


# -- powercap -------------------------------------------------------------------------------------


def powercap(folder: Path, fault: str, rng: random.Random) -> Judged:
    """A window over the real RAPL probe and a fake tree of two packages, the first with the fault."""
    watts = rng.uniform(5.0, 150.0)
    period_s = rng.uniform(0.04, 0.1) if fault == "slow" else rng.choice(_UPDATES_S)
    burst_s = rng.uniform(0.05, 0.2)

    def bursts(seconds: float) -> float:
        return watts if seconds % (2 * burst_s) < burst_s else 2.0

    range_uj = int(max(30e6, watts * 1e6 * 0.6)) if fault == "wraps" else 262_143_328_850
    zones = [
        PowercapZone(
            ZONE, "package-0", bursts if fault == "bursts" else watts, range_uj, start_uj=12_345_678 % range_uj
        ),
        PowercapZone("intel-rapl:1", "package-1", 20.0),
    ]
    with FakePowercap(folder, zones) as tree:
        length_s = max(0.4, 25 * period_s)
        advance = advancing(tree, fault, 1.2 + length_s / 2, rng)
        spoil_before(tree.energy_file(ZONE), fault, rng)
        settings = {"rapl": {"root": str(tree.root)}, "estimate": {"enabled": False}}
        with ticking(advance, period_s) if fault != "jitter" else jittered(advance, period_s, rng):
            begin = time.monotonic()
            with Meter(settings, calibrate_s=rng.choice((None, 0.3))) as meter:
                time.sleep(max(0.0, 1.2 - (time.monotonic() - begin)))
                outer = tree.joules(ZONE)
                with meter.measure() as window:
                    inner = tree.joules(ZONE)
                    time.sleep(length_s / 2)
                    spoil_during(tree.energy_file(ZONE), fault, rng)
                    time.sleep(length_s / 2)
                    inner = tree.joules(ZONE) - inner
                outer = tree.joules(ZONE) - outer
                judged = _judge(window, "rapl/package-0", inner, outer, watts)
                # A zone whose name nobody knows belongs to no total.
                return judged if fault == "name" else _with_total(judged, window)


def _with_total(judged: Judged, window: Any) -> Judged:
    """A total that lacks a package says so."""
    total = window.result.total("simulated")
    stated = total is not None and total.gross_j is not None
    if judged.outcome == "null" and stated and "parts_missing" not in total.flags:
        return Judged("short total", f"{total.gross_j:.4g} J {total.flags}; {judged.words}")
    return judged


# -- readers --------------------------------------------------------------------------------------

READER_FAULTS = (
    *("none", "none", "open-raise", "open-hang", "open-exit", "frozen", "hang", "raise", "exit", "leave", "none-item"),
    *(
        "no-number",
        "no-list",
        "huge",
        "negative",
        "backwards",
        "reset",
        "zero",
        "slow",
        "sometimes-slow",
        "jitter",
        "gaps",
    ),
    *("ahead", "behind", "prints"),
)
#: Of a gauge that shows a power that may be, nobody can tell that it is not.
_COUNTERS_ONLY = frozenset({"frozen", "reset"})


def reader(folder: Path, fault: str, rng: random.Random) -> Judged:
    """A window over a plugin's reader with the fault, a healthy one and a file that counts beside it."""
    kind = "counter" if fault in _COUNTERS_ONLY else rng.choice(("counter", "gauge"))
    length_s, watts = 0.6, rng.uniform(5.0, 150.0)
    # A domain may be switched off in a window; one that draws nothing all through it is none.
    early = rng.random() < 0.3 or (fault, kind) == ("zero", "gauge")
    told = {
        "watts": watts,
        "low_w": rng.choice((2.0, watts)),
        "burst_s": rng.uniform(0.05, 0.2),
        "period_s": rng.choice(_UPDATES_S),
        "kind": kind,
        "fault": fault,
        "seed": rng.random(),
        "at_ns": 0 if early else time.perf_counter_ns() + int((2.0 + length_s / 2) * 1e9),
    }
    truth = Truth(json.dumps({**told, "fault": "none"}))
    healthy = {**told, "fault": "none", "watts": 10.0, "low_w": 10.0}
    with FakePowercap(folder, [PowercapZone(ZONE, "package-0", 30.0)]) as tree, tree.live():
        channels = (_channel("bad", kind, told), _channel("good", kind, healthy), _file_channel(tree.energy_file(ZONE)))
        begin = time.monotonic()
        with Meter(sensors=Sensors((ProbeState("meter", Availability.yes(), channels),), channels)) as meter:
            time.sleep(max(0.0, 2.0 - (time.monotonic() - begin)))
            outside = _now(truth, tree)
            with meter.measure() as window:
                inside = _now(truth, tree)
                time.sleep(length_s)
                inside = _since(inside, _now(truth, tree))
            outside = _since(outside, _now(truth, tree))
            names, powers_w = ("meter/bad", "meter/good", "meter/file"), (watts, 10.0, 30.0)
            bad, good, file = map(_judge, [window] * 3, names, inside, outside, powers_w)
    if "wrong" in (good.outcome, file.outcome) or file.outcome == "null":
        return Judged("dragged", f"{good}; {file}")
    return bad


def _now(truth: Truth, tree: FakePowercap) -> tuple[float, float, float]:
    """Joules so far by what the readers and the file tell of."""
    now_ns = time.perf_counter_ns()
    return truth.joules(now_ns), 10e-9 * now_ns, tree.joules(ZONE)


def _since(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[float, float, float]:
    bad, good, file = (b - a for a, b in zip(before, after, strict=True))
    return bad, good, file


def _file_channel(file: Path) -> Channel:
    return Channel(
        path="meter/file",
        quantity="energy",
        unit="J",
        kind="counter",
        source=FileSource(str(file)),
        scale=1e-6,
        provenance="simulated",
        domain="file",
        rate_hz=100.0,
        update_period_s=0.001,
    )


def _channel(name: str, kind: str, argument: dict[str, Any]) -> Channel:
    counts = kind == "counter"
    return Channel(
        path=f"meter/{name}",
        quantity="energy" if counts else "power",
        unit="J" if counts else "W",
        kind="counter" if counts else "gauge",
        source=ReaderSource("faulty_reader:Meter", json.dumps(argument)),
        scale=1e-6 if counts else 1e-3,
        provenance="simulated",
        domain=name,
        rate_hz=100.0,
        update_period_s=argument["period_s"],
    )


# -- temperatures ---------------------------------------------------------------------------------

TEMPERATURE_FAULTS = ("none", "garbage", "huge", "cold", "gone", "fifo", "folder", "label", "frozen", "flicker")
_POSSIBLE_C = (-60.0, 160.0)


def temperature(folder: Path, fault: str, rng: random.Random) -> Judged:
    """What a run's thermometer shows of a fake chip that begins to fail, or has failed before."""
    chip = Chip("coretemp", [HwmonSensor("Package id 0", lambda t: 40.0 + t)])
    with FakeTemperatures(folder, [chip]) as tree:
        tree.advance(1.0)
        (file,) = folder.glob("class/hwmon/hwmon0/temp1_input")
        before = rng.random() < 0.5
        if before:
            _spoil(file, fault, rng)
        settings = {"thermal": {"root": str(tree.root), "cpu_root": str(tree.cpu_root)}}
        channels = inspect_probes(default_registry(), ProbeChoices(settings)).channels
        thermometer = Thermometer([channel for channel in channels if channel.path.startswith("thermal/")])
        shown = [thermometer.hottest_c()]
        if not before:
            _spoil(file, fault, rng)
        shown += [thermometer.hottest_c() for _ in range(5)]
        known = [celsius for celsius in shown if celsius is not None]
        if not all(_POSSIBLE_C[0] <= celsius <= _POSSIBLE_C[1] for celsius in known):
            return Judged("wrong", f"{shown}")
        return Judged("held" if len(known) == len(shown) else "null", f"{shown}")


def _spoil(file: Path, fault: str, rng: random.Random) -> None:
    if fault in ("garbage", "huge", "cold", "flicker"):
        text = rng.choice({"huge": (*HUGE, b"999999\n"), "cold": (b"-300000\n", b"-128000\n")}.get(fault, NO_NUMBERS))
        with file.open("r+b") as sink:
            sink.write(text.ljust(24, b"\n"))
    elif fault == "label":
        file.with_name("temp1_label").write_bytes(rng.choice((b"\x1b[2J", b"", b"x" * 5000, b"\xff", b"a/b/../c\n")))
    elif fault in ("gone", "fifo", "folder"):
        file.unlink()
        if fault == "fifo":
            os.mkfifo(file)
        elif fault == "folder":
            file.mkdir()


KINDS: dict[str, tuple[Callable[[Path, str, random.Random], Judged], tuple[str, ...]]] = {
    "powercap": (powercap, POWERCAP_FAULTS),
    "reader": (reader, READER_FAULTS),
    "temperature": (temperature, TEMPERATURE_FAULTS),
    "run": (powercap_run, RUN_FAULTS),
    "gpu run": (gpu_run, GPU_FAULTS),
}


def _give_up_rights() -> None:
    """Begin anew without root's right to read every file: its permissions are to hold."""
    if os.geteuid() == 0 and _AGAIN not in os.environ:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, _AGAIN: "1"})  # noqa: S606


def main() -> None:
    _give_up_rights()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        case = json.loads(line)
        folder = Path(tempfile.mkdtemp())
        measure, _ = KINDS[case["kind"]]
        try:
            judged = measure(folder, case["fault"], random.Random(case["seed"]))
        except Exception as error:
            import traceback

            traceback.print_exc()
            judged = Judged("traceback", f"{type(error).__name__}: {error}")
        shutil.rmtree(folder, ignore_errors=True)
        answers.write(json.dumps({"outcome": judged.outcome, "words": judged.words}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
