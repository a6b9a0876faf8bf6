"""Runs the benchmarks by name; without one, all that take times and download nothing."""

from __future__ import annotations

import importlib
import sys

#: In the order of their length; each module has a ``main()`` that prints what it measured.
BENCHMARKS = ("start_up", "empty_window", "sampler", "worker_protocol", "report", "decode_rate")
#: Only by name: what downloads, and what measures no time.
ON_REQUEST = ("installs", "coverage", "verdicts", "faulty_counters", "causal_models")


def main() -> None:
    chosen = sys.argv[1:] or list(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS + ON_REQUEST:
            sys.exit(f"no benchmark '{name}'; there are: {', '.join(BENCHMARKS + ON_REQUEST)}")
    for name in chosen:
        sys.argv[1:] = []
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()
