"""How often equal cells are called different, and a true difference is found, at each profile's settings.

Starts of a cell differ by a spread (1 σ, relative), blocks by another. Each profile's own numbers
of processes and blocks are taken; ``baseline`` compares five cells with one, judged together.
"""

from __future__ import annotations

import argparse
import math
import random
from importlib import resources
from pathlib import Path

from joulebench.meter.comparison import CellBlocks, compare
from joulebench.meter.multiplicity import corrected_for_many
from joulebench.profile.reading import parse_profile

PROFILES = ("quick", "standard", "lab", "runtimes", "compression", "kv-long")
SPREADS = (0.0, 0.01, 0.02, 0.04)
BLOCK_SPREADS = (0.005, 0.02)
DIFFERENCE = 0.05
CELLS = 5


def cell(source: random.Random, processes: int, blocks: int, start: float, block: float, level: float) -> CellBlocks:
    """The blocks of a cell in turns with the others."""
    shifts = [source.gauss(0.0, start) for _ in range(processes)]
    owners = [place * processes // blocks for place in range(blocks)]
    energies = [level * math.exp(shifts[owner] + source.gauss(0.0, block)) for owner in owners]
    starts = [place + 0.9 * source.random() for place in range(blocks)]
    return CellBlocks(energies, [1.0] * blocks, range(blocks), owners, starts)


def claimed(source: random.Random, shape: tuple[int, int, float, float], levels: list[float]) -> list[bool]:
    """Whether each level is called higher or lower than the baseline's 1, judged together."""
    baseline = cell(source, *shape, 1.0)
    comparisons = corrected_for_many([compare(cell(source, *shape, level), baseline) for level in levels])
    return [comparison.verdict in ("lower", "higher") for comparison in comparisons]


def shape_of(name: str) -> tuple[int, int]:
    """Processes and fewest blocks of a shipped profile."""
    file = resources.files("joulebench_profiles") / f"{name}.toml"
    stopping = parse_profile(file.read_text(encoding="utf-8"), name, Path()).measurement.stopping
    return stopping.processes, stopping.min_blocks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.verdicts")
    parser.add_argument("--runs", type=int, default=1000, help="comparisons of each kind")
    runs = parser.parse_args().runs
    print("called different, % of runs: equal pair, pair 5 % apart, any of five equal, each of five 5 % apart")
    print("profile      processes blocks  starts  blocks'  equal    5 %   any of five   5 % of five")
    for name in PROFILES:
        processes, blocks = shape_of(name)
        for start in SPREADS:
            for block in BLOCK_SPREADS:
                source, shape = random.Random(f"{name} {start} {block}"), (processes, blocks, start, block)
                equal = sum(claimed(source, shape, [1.0])[0] for _ in range(runs))
                apart = sum(claimed(source, shape, [1 + DIFFERENCE])[0] for _ in range(runs))
                any_of = sum(any(claimed(source, shape, [1.0] * CELLS)) for _ in range(runs // CELLS))
                claims = sum(sum(claimed(source, shape, [1 + DIFFERENCE] * CELLS)) for _ in range(runs // CELLS))
                shares = [equal / runs, apart / runs, any_of * CELLS / runs, claims / (runs // CELLS * CELLS)]
                figures = "  ".join(f"{100 * share:6.1f}" for share in shares)
                print(f"{name:12} {processes:5} {blocks:8}   {start:.1%}    {block:.1%}  {figures}", flush=True)


if __name__ == "__main__":
    main()
