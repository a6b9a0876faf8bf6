"""How often an interval of a mean holds the truth, and how wide it is, on a wandering machine.

Blocks are a first-order autoregressive series of standard deviation 1 around 0, with white noise
over it or none. Beside what joulebench says stands the same without a least number of degrees of
freedom (``n_eff - 1`` alone). The second level is the one that Holm's correction asks for with
eight figures.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Sequence

from joulebench.meter.student import t_quantile
from joulebench.meter.uncertainty import spread_of

BLOCKS = (10, 16, 24, 40)
CORRELATIONS = (0.0, 0.3, 0.6, 0.8, 0.9)
WHITE = (0.0, 0.5)
LEVELS = (0.95, 1 - 0.05 / 8)


def series(source: random.Random, n: int, r: float, white: float) -> list[float]:
    """A stationary AR(1) of lag-1 correlation ``r`` and variance 1, white noise of ``white``."""
    value = source.gauss(0.0, 1.0)
    found: list[float] = []
    for _ in range(n):
        found.append(value + source.gauss(0.0, white))
        value = r * value + source.gauss(0.0, math.sqrt(1 - r * r))
    return found


def told(runs: Sequence[tuple[float, float, float]], level: float) -> str:
    """``covered % (median half-width)`` of (mean, u, degrees of freedom)."""
    halves = [t_quantile(0.5 + level / 2, df) * u for _, u, df in runs]
    held = sum(abs(mean) < half for (mean, _, _), half in zip(runs, halves, strict=True))
    return f"{100 * held / len(runs):5.1f} ({statistics.median(halves):6.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.coverage")
    parser.add_argument("--runs", type=int, default=2000, help="series of each kind")
    arguments = parser.parse_args()
    print("covered % (median half-width), at 95 % and at 99.4 %")
    print("blocks  r    white   joulebench                        n_eff - 1 degrees alone")
    for white in WHITE:
        for n in BLOCKS:
            for r in CORRELATIONS:
                source = random.Random(f"{n} {r} {white}")
                spreads = [spread_of(series(source, n, r, white)) for _ in range(arguments.runs)]
                own = [(each.mean, each.u, each.df) for each in spreads]
                bare = [(each.mean, each.u, each.n_eff - 1) for each in spreads]
                columns = [told(runs, level) for runs in (own, bare) for level in LEVELS]
                print(f"{n:6}  {r:.1f}  {white:.1f}   " + "  ".join(columns), flush=True)


if __name__ == "__main__":
    main()
