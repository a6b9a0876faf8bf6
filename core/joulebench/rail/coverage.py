"""How often the 95 % intervals of simulated cells hold the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.meter.uncertainty import Interval
from joulebench.rail.cells import SimulatedCell, simulate_cell
from joulebench.rail.scenarios import Scenario

#: A 95 % interval that holds the truth in this share of cells is honest.
HONEST: Final = (0.93, 0.97)
#: Below this no flag excuses a scenario: it states its ``least_coverage``, or the study fails.
EXCUSED_FROM: Final = 0.90
#: A scenario counts as flagged where more than this share of its cells carries a warning.
_MOST: Final = 0.5
#: Flags that tell a reader not to take a cell's interval at its word.
WARNINGS: Final = frozenset(
    {
        "autocorrelated",
        "insufficient_resolution",
        "coarse_resolution",
        "gauge_integrated",
        "idle_drift",
        "few_processes",
        "counter_reset",
        "counter_ambiguous",
    }
)
#: Most false differences between equal cells.
FALSE_AT_MOST: Final = 0.05
#: Energies of a cell, as they are printed.
QUANTITIES: Final = ("gross", "net", "J/token", "J/prefill token", "J/decode token")

#: Whether the interval held the truth, error and half-width relative to it; ``None``: no figure.
Outcome = tuple[bool, float, float] | None


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """A simulated cell against its truth: an outcome for each of :data:`QUANTITIES`."""

    outcomes: tuple[Outcome, ...]
    warnings: frozenset[str]


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
    """Coverage of a scenario's 95 % intervals, by quantity."""

    scenario: str
    what: str
    cells: int
    quantities: dict[str, QuantityCoverage]
    #: Share of cells that carry each warning.
    warnings: dict[str, float]
    #: What the scenario says of the coverage of its kind, if that is less than 93 %.
    least_coverage: float | None = None
    #: Share of pairs of equal cells that were found different, and how many pairs there were.
    false_share: float | None = None
    pairs: int = 0

    @property
    def gross(self) -> QuantityCoverage:
        """Mean gross energy of a block."""
        return self.quantities["gross"]

    @property
    def net(self) -> QuantityCoverage:
        """Mean net energy of a block."""
        return self.quantities["net"]

    @property
    def j_per_token(self) -> QuantityCoverage:
        """Gross energy per token."""
        return self.quantities["J/token"]

    @property
    def j_per_prefill_token(self) -> QuantityCoverage:
        """Energy per prompt token, by the fit over requests."""
        return self.quantities["J/prefill token"]

    def outside(self, *, by_chance: bool = True) -> list[str]:
        """Quantities whose coverage is not what is promised of them: 93–97 %.

        ``by_chance`` False leaves out what two standard errors of so few cells explain. Where most cells
        carry a warning, down to 90 % is excused, and more than 97 %. A scenario of what no interval
        covers promises its ``least_coverage``.

        Drifting idle power warns of net energy. It is also why other intervals are too *wide*: the
        shift counts as scatter of the blocks, though all of it is in their true mean.
        """
        drifts = self.warnings.get("idle_drift", 0.0)
        others = max((share for flag, share in self.warnings.items() if flag != "idle_drift"), default=0.0)
        broken = []
        for name, quantity in self.quantities.items():
            if quantity.covered is None:
                continue
            low, high = HONEST if self.least_coverage is None else (self.least_coverage, 1.0)
            drift_explains = name == "net" or quantity.covered > HONEST[1]
            if self.least_coverage is None and max(others, drifts if drift_explains else 0.0) > _MOST:
                low, high = EXCUSED_FROM, 1.0
            leeway = 0.0 if by_chance else 2 * math.sqrt(low * (1 - low) / (quantity.given * self.cells))
            if not low - leeway <= quantity.covered <= high + leeway:
                broken.append(name)
        return broken

    def too_many_false(self) -> bool:
        """Whether equal cells of a promised scenario are found different too often, beyond chance."""
        if self.false_share is None or self.least_coverage is not None:
            return False
        return self.false_share > FALSE_AT_MOST + 2 * math.sqrt(FALSE_AT_MOST * (1 - FALSE_AT_MOST) / self.pairs)


def _outcome(interval: Interval | None, truth: float) -> Outcome:
    if interval is None or interval.mean is None or interval.low is None or interval.high is None:
        return None
    covered = interval.low <= truth <= interval.high
    return covered, (interval.mean - truth) / truth, (interval.high - interval.low) / 2 / truth


def cell_outcome(cell: SimulatedCell) -> CellOutcome:
    """A simulated cell against its truth."""
    fit, truth = cell.fit, cell.truth
    pairs = (
        (cell.gross, truth.gross_j),
        (cell.net, truth.net_j),
        (cell.j_per_token, truth.j_per_token),
        (fit.per_prefill_token_j if fit else None, truth.j_per_prefill_token),
        (fit.per_decode_token_j if fit else None, truth.j_per_decode_token),
    )
    return CellOutcome(tuple(_outcome(*pair) for pair in pairs), cell.flags & WARNINGS)


def simulate_outcomes(scenario: Scenario, seed: int, cells: Iterable[int]) -> list[CellOutcome]:
    """Outcomes of the cells of these numbers; each depends on ``seed`` and its number alone."""
    return [cell_outcome(simulate_cell(scenario, seed * 1_000_003 + i)) for i in cells]


def _quantity(outcomes: Sequence[Outcome]) -> QuantityCoverage:
    known = [outcome for outcome in outcomes if outcome is not None]
    if not known:
        return QuantityCoverage(None, None, None, 0.0)
    hits, bias, width = (sum(column) / len(known) for column in zip(*known, strict=True))
    return QuantityCoverage(hits, bias, width, len(known) / len(outcomes))


def coverage_of(
    scenario: Scenario, cells: Sequence[CellOutcome], false_share: float | None = None, pairs: int = 0
) -> Coverage:
    """What the outcomes of a scenario's cells come to."""
    columns = list(zip(*(cell.outcomes for cell in cells), strict=True))
    flags = sorted({flag for cell in cells for flag in cell.warnings})
    return Coverage(
        scenario.name,
        scenario.what,
        len(cells),
        {name: _quantity(column) for name, column in zip(QUANTITIES, columns, strict=True)},
        {flag: sum(flag in cell.warnings for cell in cells) / len(cells) for flag in flags},
        scenario.least_coverage,
        false_share,
        pairs,
    )


def coverage(scenario: Scenario, cells: int, seed: int = 0) -> Coverage:
    """Simulate ``cells`` cells and count how often each interval held the truth."""
    return coverage_of(scenario, simulate_outcomes(scenario, seed, range(cells)))


def _quantity_text(quantity: QuantityCoverage) -> str:
    if quantity.covered is None or quantity.bias is None or quantity.half_width is None:
        return f"{'refused':>20}"
    shares = (100 * quantity.covered, 100 * quantity.bias, 100 * quantity.half_width)
    return "{:6.1f} {:+6.2f} {:6.2f}".format(*shares)


def write_table(rows: Sequence[Coverage], write: Callable[[str], None]) -> None:
    """The table of coverage, and what is outside of 93–97 % without a warning."""
    write("Coverage of the 95 % interval, bias and half-width, in % of the truth")
    names = " ".join(f"{name:>20}" for name in QUANTITIES)
    write(f"{'scenario':18} {names} {'false':>6}  warnings (share of cells)")
    for row in rows:
        figures = " ".join(_quantity_text(quantity) for quantity in row.quantities.values())
        false = "-" if row.false_share is None else f"{100 * row.false_share:.1f}"
        warned = ", ".join(f"{k} {100 * v:.0f} %" for k, v in sorted(row.warnings.items()))
        write(f"{row.scenario:18} {figures} {false:>6}  {warned or '-'}")
    write("false: equal cells found different, in % of pairs")
    write(f"told apart too often: {', '.join(row.scenario for row in rows if row.too_many_false()) or 'none'}")
    known = "; ".join(
        f"{row.scenario} {100 * row.least_coverage:.0f} %" for row in rows if row.least_coverage is not None
    )
    write(f"no interval covers these, and least coverages are stated: {known or 'none'}")
    write(f"outside 93–97 % and not flagged: {_outside_text(rows, by_chance=False)}")
    write(f"… that two standard errors of the simulation explain: {_outside_text(rows)}")


def _outside_text(rows: Sequence[Coverage], *, by_chance: bool = True) -> str:
    listed: list[str] = []
    for row in rows:
        beyond = row.outside(by_chance=False)
        names = [n for n in row.outside() if n not in beyond] if by_chance else beyond
        listed.extend(f"{row.scenario} {name} {100 * (row.quantities[name].covered or 0):.1f} %" for name in names)
    return "; ".join(listed) or "none"
