"""How often the 95 % intervals of simulated cells hold the truth."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.meter.uncertainty import Interval
from joulebench.testing.rail_cells import simulate_cell
from joulebench.testing.rail_scenarios import SCENARIOS, Scenario

#: A 95 % interval that holds the truth in this share of cells is honest.
HONEST: Final = (0.93, 0.97)
#: A scenario counts as flagged where more than this share of its cells carries a warning.
_MOST: Final = 0.5
#: Flags that tell a reader not to take a cell's interval at its word.
WARNINGS: Final = frozenset(
    {"autocorrelated", "insufficient_resolution", "coarse_resolution", "gauge_integrated",
     "idle_drift", "few_processes", "counter_reset", "counter_ambiguous"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuantityCoverage:
    """How one figure fared over many cells; ``None`` where no cell gave it.

    ``bias`` and ``half_width`` are means relative to the truth; ``given`` the share of cells
    that had the figure.
    """

    covered: float | None
    bias: float | None
    half_width: float | None
    given: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """Coverage of a scenario's 95 % intervals."""

    scenario: str
    cells: int
    gross: QuantityCoverage
    net: QuantityCoverage
    j_per_token: QuantityCoverage
    j_per_prefill_token: QuantityCoverage
    #: Share of cells that carry each warning.
    warnings: dict[str, float]

    def outside(self) -> list[str]:
        """Figures whose coverage lies outside 93–97 % though most cells carry no warning.

        A drift of the idle baselines warns of net energy alone.
        """
        about_all = max(
            (share for flag, share in self.warnings.items() if flag != "idle_drift"), default=0.0
        )
        about_net = max(about_all, self.warnings.get("idle_drift", 0.0))
        judged = (
            ("gross", self.gross, about_all),
            ("net", self.net, about_net),
            ("J/token", self.j_per_token, about_all),
            ("J/prefill token", self.j_per_prefill_token, about_all),
        )
        return [
            name
            for name, quantity, warned in judged
            if quantity.covered is not None
            and not HONEST[0] <= quantity.covered <= HONEST[1]
            and warned <= _MOST
        ]


def _quantity(pairs: Sequence[tuple[Interval | None, float]]) -> QuantityCoverage:
    hits, bias, width, given = 0, 0.0, 0.0, 0
    for interval, truth in pairs:
        if interval is None or interval.mean is None or interval.half_width is None:
            continue
        given += 1
        hits += abs(interval.mean - truth) <= interval.half_width
        bias += (interval.mean - truth) / truth
        width += interval.half_width / truth
    if not given:
        return QuantityCoverage(None, None, None, 0.0)
    return QuantityCoverage(hits / given, bias / given, width / given, given / len(pairs))


def coverage(scenario: Scenario, cells: int, seed: int = 0) -> Coverage:
    """Simulate ``cells`` cells and count how often each interval held the truth."""
    found = [simulate_cell(scenario, seed * 1_000_003 + i) for i in range(cells)]
    warned: dict[str, float] = {}
    for cell in found:
        for flag in cell.flags & WARNINGS:
            warned[flag] = warned.get(flag, 0.0) + 1 / cells
    return Coverage(
        scenario.name,
        cells,
        _quantity([(c.gross, c.truth.gross_j) for c in found]),
        _quantity([(c.net, c.truth.net_j) for c in found]),
        _quantity([(c.j_per_token, c.truth.j_per_token) for c in found]),
        _quantity(
            [
                (c.fit.per_prefill_token_j if c.fit else None, c.truth.j_per_prefill_token)
                for c in found
            ]
        ),
        warned,
    )


def _cell_text(quantity: QuantityCoverage) -> str:
    if quantity.covered is None or quantity.bias is None or quantity.half_width is None:
        return f"{'refused':>20}"
    shares = (100 * quantity.covered, 100 * quantity.bias, 100 * quantity.half_width)
    return "{:6.1f} {:+6.2f} {:6.2f}".format(*shares)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of coverage; ``--cells`` and ``--seed`` choose the simulation."""
    parser = argparse.ArgumentParser(
        prog="python -m joulebench.testing.rail", description="Coverage of the 95 % intervals."
    )
    parser.add_argument("--cells", type=int, default=1000, help="cells per scenario")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    print("Per figure: coverage, bias and half-width in % of the truth")
    print(
        f"{'scenario':18} {'mean gross':>20} {'mean net':>20} {'J/token':>20} "
        f"{'J/prefill token':>20}  warnings (share of cells)"
    )
    for scenario in SCENARIOS:
        row = coverage(scenario, given.cells, given.seed)
        figures = " ".join(
            _cell_text(q) for q in (row.gross, row.net, row.j_per_token, row.j_per_prefill_token)
        )
        warned = ", ".join(f"{k} {100 * v:.0f} %" for k, v in sorted(row.warnings.items()))
        outside = row.outside()
        mark = f"  << outside 93–97 %, no warning: {', '.join(outside)}" if outside else ""
        print(f"{row.scenario:18} {figures}  {warned or '-'}{mark}", flush=True)
