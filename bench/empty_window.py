"""What measuring nothing costs: the time of an empty window, for joulebench and its neighbours.

Each contender runs in a process of its own: an open-read-close of one counter as the baseline,
joulebench, and pyRAPL, Zeus and CodeCarbon where they are installed (``--others PYTHON`` names
another environment's interpreter for those three). All read RAPL of one package. Where the machine
has none, a live fake powercap tree takes its place: the others have the path built in, so a private
mount namespace puts the tree there, which takes root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CLASS = Path("/sys/class")
COUNTER = CLASS / "powercap/intel-rapl/intel-rapl:0/energy_uj"
TREE = "JOULEBENCH_BENCH_TREE"
#: A contender's round of windows lasts about so long.
ROUND_S, ROUNDS = 0.1, 30
TIMEOUT_S = 60


def plain() -> Callable[[], object]:
    counter = str(Path(os.environ.get(TREE, CLASS)) / COUNTER.relative_to(CLASS))

    def read() -> int:
        descriptor = os.open(counter, os.O_RDONLY)
        value = int(os.read(descriptor, 64))
        os.close(descriptor)
        return value

    def window() -> int:
        before = read()
        return read() - before

    return window


def joulebench() -> Callable[[], object]:
    import joulebench

    settings = {"rapl": {"root": f"{os.environ.get(TREE, CLASS)}/powercap"}}
    settings["estimate"] = {"enabled": False}

    def window() -> None:
        with joulebench.measure(settings):
            pass

    return window


def joulebench_kept() -> Callable[[], object]:
    import joulebench

    root = f"{os.environ.get(TREE, CLASS)}/powercap"
    meter = joulebench.Meter({"rapl": {"root": root}, "estimate": {"enabled": False}})
    paths = [channel.path for channel in meter.channels]
    print(f"  joulebench reads {', '.join(paths)}", file=sys.stderr)

    def window() -> None:
        with meter.measure():
            pass

    return window


def pyrapl() -> Callable[[], object]:
    import pyRAPL

    pyRAPL.setup()

    def window() -> None:
        measurement = pyRAPL.Measurement("empty")
        measurement.begin()
        measurement.end()

    return window


def zeus() -> Callable[[], object]:
    import logging

    logging.disable(logging.CRITICAL)
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor(gpu_indices=[], cpu_indices=[0])

    def window() -> None:
        monitor.begin_window("empty", sync_execution=False)
        monitor.end_window("empty", sync_execution=False)

    return window


def codecarbon() -> Callable[[], object]:
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", save_to_file=False, log_level="critical", allow_multiple_runs=True
    )

    def window() -> None:
        tracker.start_task("empty")
        tracker.stop_task("empty")

    return window


OURS = {
    "open, read, close": plain,
    "joulebench.measure(settings)": joulebench,
    "joulebench.Meter.measure()": joulebench_kept,
}
OTHERS = {"pyRAPL 0.2": pyrapl, "Zeus": zeus, "CodeCarbon (task)": codecarbon}


def contend(name: str) -> None:
    """One contender, in this process: prints the median and the least µs of an empty window."""
    window = (OURS | OTHERS)[name]()
    start = time.perf_counter_ns()
    window()
    window()
    number = max(1, int(ROUND_S * 2e9 / (time.perf_counter_ns() - start)))
    costs: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(number):
            window()
        costs.append((time.perf_counter_ns() - start) / number / 1e3)
        if len(costs) * ROUND_S > 1 and costs[-1] > 1e4:
            break
    print(f"{name:<30} {statistics.median(costs):10.1f} {min(costs):10.1f}", flush=True)
    sys.stdout.flush()
    os._exit(0)  # some contenders leave threads and processes that do not end by themselves


def everyone(others: str) -> None:
    """All contenders, one after another."""
    print(f"{'empty window, one package':<30} {'median µs':>10} {'least µs':>10}", flush=True)
    for name in (*OURS, *OTHERS):
        print(_answer(others if name in OTHERS else sys.executable, name), flush=True)


def _answer(python: str, name: str) -> str:
    """What a contender printed, or why it could not be measured."""
    # Files rather than pipes, and an own group to end: some leave processes behind that would hold
    # a pipe open.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as complained:
        process = subprocess.Popen(
            [python, __file__, "--contend", name], stdout=output, stderr=complained, start_new_session=True
        )
        try:
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"{name:<30} not measured: no answer within {TIMEOUT_S} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        complained.seek(0)
        lines = complained.read().strip().splitlines() or ["no message"]
        answer = [line for line in output if line.startswith(name)]  # some print words of their own
        return answer[0].rstrip() if answer else f"{name:<30} not measured: {lines[-1]}"


def on_a_fake_tree(others: str) -> None:
    """The same with a live tree in place of /sys/class/powercap, where that is possible."""
    from joulebench.testing.powercap import FakePowercap, intel_zones

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "powercap")
        root.mkdir()
        zones = intel_zones(core_watts=None, dram_watts=None)
        with FakePowercap(root, zones, layout="nested") as tree, tree.live():
            (root / "intel-rapl/subsystem").symlink_to(root / "intel-rapl")
            mount = ["mount", "--bind", folder, str(CLASS)]
            command = [sys.executable, __file__, "--inside", "--others", others]
            environment = {**os.environ, TREE: folder}
            private = shutil.which("unshare") and os.geteuid() == 0
            if private:
                script = f'{" ".join(mount)} && exec "$@"'
                command = ["unshare", "-m", "sh", "-c", script, "sh", *command]
            else:
                print("without root the others cannot be shown the fake tree", flush=True)
            subprocess.run(command, check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contend:
        contend(arguments.contend)
    elif arguments.inside or COUNTER.exists():
        everyone(arguments.others)
    else:
        print("no RAPL here: a live fake tree on a disk, updated each ms by another process")
        on_a_fake_tree(arguments.others)


if __name__ == "__main__":
    main()
