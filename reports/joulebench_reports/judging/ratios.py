"""The ratio of two cells of a session in energy or time, with all that is uncertain about it.

Blocks and processes show one part of the uncertainty. The rest is added here: an estimate's model
errs by itself, runs differ from one to the next, and cells of different groups are compared
through a cell that took turns with both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from joulebench.api import Provenance
from joulebench.meter.comparison import CellBlocks, CellComparison, compare, compare_through, widened_by
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.series import CellSeries

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


@cache
def energy_of_work(provenance: Provenance) -> Quantity:
    """Joules of a provenance for a unit of work."""
    return lambda series: series.energy(provenance)


@cache
def _power(provenance: Provenance) -> Quantity:
    return lambda series: series.ratio(series.joules(provenance), lambda block: block.duration_s)


class CellRatios:
    """Ratios of the cells of a session; ``run_u`` is the spread from run to run, where it was measured.

    Each pair is compared once, whoever asks.
    """

    def __init__(self, run_u: float | None) -> None:
        self._run_u = run_u
        self._blocks_of: dict[tuple[str, Quantity], CellBlocks | None] = {}
        self._compared: dict[tuple[str, str, Quantity], CellComparison | None] = {}

    def energy(
        self, cell: CellSummary, base: CellSummary, provenance: Provenance, anchors: Sequence[CellSummary]
    ) -> CellComparison | None:
        """Energy of a unit of work over the baseline's; ``None`` where one has none."""
        comparison = self.of(cell, base, energy_of_work(provenance), anchors)
        if comparison is None or provenance != "estimated":
            return comparison
        powers = [self._log_ratio(cell, base, part) for part in (_power(provenance), _load)]
        load = 0.0 if powers[1] is None else powers[1]
        flag = "time_derived" if powers[0] is not None and abs(powers[0]) < _SAME_POWER else "model_error"
        return widened_by(comparison, math.hypot(MODEL_U, _LOAD_U * load), flag)

    def of(
        self, cell: CellSummary, base: CellSummary, quantity: Quantity, anchors: Sequence[CellSummary]
    ) -> CellComparison | None:
        """A quantity of the cell over the baseline's, through one of the ``anchors`` where they took no turns."""
        comparison = self._pair(cell, base, quantity)
        if comparison is None:
            return None
        if not comparison.paired and comparison.ratio is not None:
            comparison = self._through_anchor(cell, base, quantity, anchors) or comparison
        return comparison if self._run_u is None else widened_by(comparison, self._run_u, "run_to_run")

    def _through_anchor(
        self, cell: CellSummary, base: CellSummary, quantity: Quantity, anchors: Sequence[CellSummary]
    ) -> CellComparison | None:
        """By the cell that shares turns with both and leaves the least uncertainty."""
        ours, theirs = self._blocks(cell, quantity), self._blocks(base, quantity)
        known: list[CellComparison] = []
        for anchor in anchors:
            middle = self._blocks(anchor, quantity)
            if middle is None or anchor.id in (cell.id, base.id) or not _shares(middle, ours, theirs):
                continue
            first, second = self._pair(cell, anchor, quantity), self._pair(base, anchor, quantity)
            through = None if first is None or second is None else compare_through(first, second)
            known += [] if through is None else [through]
        return min(known, key=lambda comparison: comparison.u_log or math.inf, default=None)

    def _pair(self, cell: CellSummary, base: CellSummary, quantity: Quantity) -> CellComparison | None:
        key = (cell.id, base.id, quantity)
        if key not in self._compared:
            ours, theirs = self._blocks(cell, quantity), self._blocks(base, quantity)
            self._compared[key] = None if ours is None or theirs is None else compare(ours, theirs)
        return self._compared[key]

    def _blocks(self, cell: CellSummary, quantity: Quantity) -> CellBlocks | None:
        key = (cell.id, quantity)
        if key not in self._blocks_of:
            self._blocks_of[key] = quantity(cell.series)
        return self._blocks_of[key]

    def _log_ratio(self, cell: CellSummary, base: CellSummary, quantity: Quantity) -> float | None:
        means = [_mean(self._blocks(side, quantity)) for side in (cell, base)]
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
