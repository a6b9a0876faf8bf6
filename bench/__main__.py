"""Runs the benchmarks by name, all of them without one."""

from __future__ import annotations

import importlib
import sys

#: In the order of their length; each module has a ``main()`` that prints what it measured.
BENCHMARKS = ("start_up", "empty_window", "sampler", "decode_rate")


def main() -> None:
    chosen = sys.argv[1:] or list(BENCHMARKS)
    for name in chosen:
        if name not in BENCHMARKS:
            sys.exit(f"no benchmark '{name}'; there are: {', '.join(BENCHMARKS)}")
    for name in chosen:
        sys.argv[1:] = []
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()
