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
from collections.abc import Callable, Sequence

from joulebench.meter.student import t_quantile
from joulebench.meter.uncertainty import spread_of

BLOCKS = (10, 16, 24, 40)
CORRELATIONS = (0.0, 0.3, 0.6, 0.8, 0.9)
WHITE = (0.0, 0.5)
LEVELS = (0.95, 1 - 0.05 / 8)


def series(source: random.Random, n: int, r: float, white: float) -> list[float]:
    """A stationary AR(1) of lag-1 correlation ``r`` and variance 1, white noise of ``white``."""
    value = source.gauss(0.0, 1.0)
    values: list[float] = []
    for _ in range(n):
        values.append(value + source.gauss(0.0, white))
        value = r * value + source.gauss(0.0, math.sqrt(1 - r * r))
    return values


def pink(source: random.Random, n: int) -> list[float]:
    """1/f noise: ten sources, each renewed half as often as the one before (Voss and McCartney)."""
    sources = [source.gauss(0.0, 1.0) for _ in range(10)]
    values: list[float] = []
    for _ in range(n):
        sources = [source.gauss(0.0, 1.0) if source.random() < 2.0**-k else v for k, v in enumerate(sources)]
        values.append(sum(sources))
    return values


def states(source: random.Random, n: int) -> list[float]:
    """Two clock states at -1 and 1 that stay 15 blocks in the mean, noise of 0.5 over them."""
    state, values = source.choice((-1.0, 1.0)), []
    for _ in range(n):
        state = -state if source.random() < 1 / 15 else state
        values.append(state + source.gauss(0.0, 0.5))
    return values


#: What no interval of a series covers, with the share of cells that say so.
SLOW: dict[str, Callable[[random.Random, int], list[float]]] = {
    "AR(1) 0.9 under white noise": lambda source, n: series(source, n, 0.9, 1.0),
    "1/f": pink,
    "clock states of 15 blocks": states,
    "independent": lambda source, n: series(source, n, 0.0, 0.0),
}


def slow_table(runs: int) -> None:
    """Coverage at 95 % and the share that carries the flag ``slow_changes``."""
    print("\ncovered % at 95 %, and % flagged slow_changes")
    for name, make in SLOW.items():
        for n in (20, 40, 80):
            source = random.Random(f"{name} {n}")
            spreads = [spread_of(make(source, n)) for _ in range(runs)]
            held = sum(abs(s.mean) < t_quantile(0.975, s.df) * s.u for s in spreads)
            slow = sum(s.slow for s in spreads)
            print(f"{name:28} {n:4} blocks  {100 * held / runs:5.1f}  flagged {100 * slow / runs:5.1f}", flush=True)


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
                own = [(spread.mean, spread.u, spread.df) for spread in spreads]
                bare = [(spread.mean, spread.u, spread.n_eff - 1) for spread in spreads]
                columns = [told(runs, level) for runs in (own, bare) for level in LEVELS]
                print(f"{n:6}  {r:.1f}  {white:.1f}   " + "  ".join(columns), flush=True)
    slow_table(arguments.runs)


if __name__ == "__main__":
    main()
