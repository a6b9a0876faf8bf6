"""CPU seconds and peak memory of a start: ``--help``, ``plugin list``, ``plan quick``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

RUNS = 15
COMMANDS = (["--version"], ["--help"], ["plugin", "list"], ["plan", "quick"])


def cost(arguments: list[str]) -> tuple[float, float]:
    """(CPU seconds, peak MiB) of one call, by the kernel's account of the finished process."""
    process = subprocess.Popen([sys.executable, "-m", "joulebench", *arguments], stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    for arguments in COMMANDS:
        cost(arguments)  # the first one fills the caches
        runs = [cost(arguments) for _ in range(RUNS)]
        seconds = [run[0] for run in runs]
        print(
            f"joulebench {' '.join(arguments):12} CPU {statistics.median(seconds):.3f} s "
            f"({min(seconds):.3f}–{max(seconds):.3f}), peak {runs[0][1]:.0f} MiB, {RUNS} runs"
        )


if __name__ == "__main__":
    main()
