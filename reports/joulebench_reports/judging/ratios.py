"""The ratio of two cells of a session in energy or time, with all that is uncertain about it.

Blocks and processes show one part of the uncertainty. The rest is added here: an estimate's model
errs by itself, runs differ from one to the next, and cells of different groups are compared
through a cell that took turns with both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from joulebench.api import Provenance
from joulebench.meter.comparison import CellBlocks, CellComparison, compare, compare_through, widened_by
from joulebench_reports.reading.series import CellSeries, read_energies, read_series
from joulebench_reports.values.figures import CellSummary

if TYPE_CHECKING:
    from joulebench.session import Session

#: Standard uncertainty of the logarithm of a ratio of estimated energies. Models of a processor's
#: power from its load err by 20 % in the mean and 31 % at worst across loads.
MODEL_U: Final = 0.2
#: So much more for each unit by which the logarithms of CPU seconds a second differ: such a model
#: has power grow in proportion to them; if the exponent may be anything from 0 to 1, the root mean
#: square of its distance from 1 is 1/√3.
_LOAD_U: Final = 1 / math.sqrt(3)
#: Estimates whose powers differ by less (as a logarithm) tell the times' ratio once more.
_SAME_POWER: Final = 0.05
#: Where a session's preflight records how much runs differ on its machine.
RUN_TO_RUN: Final = "run_to_run_sigma"

#: What of a cell's blocks is compared; ``None`` where the cell does not have it.
Quantity = Callable[[CellSeries], CellBlocks | None]


def run_to_run_u(session: Session) -> float | None:
    """Relative standard deviation of a ratio from run to run; ``None`` where nobody measured it."""
    preflight = session.json("preflight_json")
    return as_spread(preflight.get(RUN_TO_RUN)) if isinstance(preflight, dict) else None


def as_spread(recorded: object) -> float | None:
    """A relative standard deviation as it was recorded; ``None`` where it is none."""
    known = isinstance(recorded, (int, float)) and not isinstance(recorded, bool) and 0 <= recorded < 1
    return float(recorded) if known else None  # type: ignore[arg-type]


def decode_time(series: CellSeries) -> CellBlocks | None:
    """Seconds of decoding a token, else of a unit of work."""
    return series.ratio(lambda b: b.decode_s, lambda b: b.decode_tokens) or series.ratio(
        lambda b: b.duration_s, lambda b: b.units
    )


def processor_time(series: CellSeries) -> CellBlocks | None:
    """CPU seconds of the worker for a unit of work."""
    return series.ratio(lambda b: b.worker_cpu_s, lambda b: b.units)


class CellRatios:
    """Ratios of the cells of one model and workload; each cell is read once.

    Without ``times`` only energies can be compared: requests, a large table, are not read.
    """

    def __init__(self, session: Session, cells: Sequence[CellSummary], *, times: bool) -> None:
        self._session = session
        self._cells = tuple(cells)
        self._read = read_series if times else read_energies
        self._series: dict[str, CellSeries] = {}
        self._run_u = run_to_run_u(session)

    def energy(self, cell: CellSummary, base: CellSummary, provenance: Provenance) -> CellComparison | None:
        """Energy of a unit of work over the baseline's; ``None`` where one has none."""
        comparison = self.of(cell, base, lambda series: series.energy(provenance))
        if comparison is None or provenance != "estimated":
            return comparison
        powers = [self._log_ratio(cell, base, part) for part in (_power(provenance), _load)]
        load = 0.0 if powers[1] is None else powers[1]
        flag = "time_derived" if powers[0] is not None and abs(powers[0]) < _SAME_POWER else "model_error"
        return widened_by(comparison, math.hypot(MODEL_U, _LOAD_U * load), flag)

    def of(self, cell: CellSummary, base: CellSummary, quantity: Quantity) -> CellComparison | None:
        """A quantity of the cell over the baseline's, through an anchor where they took no turns."""
        ours, theirs = self._blocks(cell, quantity), self._blocks(base, quantity)
        if ours is None or theirs is None:
            return None
        comparison = compare(ours, theirs)
        if not comparison.paired and comparison.ratio is not None:
            comparison = self._through_anchor(cell, base, quantity) or comparison
        return comparison if self._run_u is None else widened_by(comparison, self._run_u, "run_to_run")

    def _through_anchor(self, cell: CellSummary, base: CellSummary, quantity: Quantity) -> CellComparison | None:
        """By the cell that shares turns with both and leaves the least uncertainty."""
        ours, theirs = self._blocks(cell, quantity), self._blocks(base, quantity)
        known: list[CellComparison] = []
        for anchor in self._cells:
            middle = self._blocks(anchor, quantity)
            if middle is None or anchor.id in (cell.id, base.id) or not _shares(middle, ours, theirs):
                continue
            through = compare_through(compare(ours, middle), compare(theirs, middle))  # type: ignore[arg-type]
            known += [] if through is None else [through]
        return min(known, key=lambda comparison: comparison.u_log or math.inf, default=None)

    def _blocks(self, cell: CellSummary, quantity: Quantity) -> CellBlocks | None:
        return quantity(self._of(cell))

    def _of(self, cell: CellSummary) -> CellSeries:
        if cell.id not in self._series:
            self._series[cell.id] = self._read(self._session, cell.id, cell.unit)
        return self._series[cell.id]

    def _log_ratio(self, cell: CellSummary, base: CellSummary, quantity: Quantity) -> float | None:
        means = [_mean(self._blocks(one, quantity)) for one in (cell, base)]
        return math.log(means[0]) - math.log(means[1]) if means[0] and means[1] else None


def _shares(middle: CellBlocks, *others: CellBlocks | None) -> bool:
    own = set(middle.rounds or ())
    return all(other is not None and len(own & set(other.rounds or ())) > 1 for other in others)


def _mean(blocks: CellBlocks | None) -> float | None:
    if blocks is None or blocks.units is None:
        return None
    above, below = math.fsum(blocks.energies), math.fsum(blocks.units)
    return above / below if above > 0 and below > 0 else None


def _load(series: CellSeries) -> CellBlocks | None:
    """CPU seconds a second."""
    return series.ratio(lambda b: b.worker_cpu_s, lambda b: b.duration_s)


def _power(provenance: Provenance) -> Quantity:
    def of(series: CellSeries) -> CellBlocks | None:
        return series.ratio(series.joules(provenance), lambda block: block.duration_s)

    return of
