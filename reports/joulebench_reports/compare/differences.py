"""In what two runs differ beside their figures: what a change of a figure may come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from joulebench.api import Scalar
from joulebench_reports.compare.side import Facts, Side, SideCell

Area = Literal["session", "machine", "state", "protocol", "versions", "model", "cell", "sensor"]

#: Figures of one machine that vary a little from start to start, and by how much (relative).
_LOOSE: Final = {"memory_bytes": 0.01}
#: With another of these it is another sensor that was read, though its channel has the same name.
_SCALES: Final = ("cpu.model", "cpu.architecture", "accelerators")


@dataclass(frozen=True, slots=True)
class Difference:
    """``name`` was ``before`` and is ``after``; ``cells`` counts the cells that it holds for."""

    area: Area
    name: str
    before: Scalar | None
    after: Scalar | None
    cells: int | None = None

    @property
    def words(self) -> tuple[str, str]:
        """What differs, and how."""
        before, after = ("unknown" if x is None else x for x in (self.before, self.after))
        count = "" if self.cells is None else f" ({self.cells} cell{'s'[: self.cells > 1]})"
        return f"{self.area} {self.name}", f"{before} → {after}{count}"


def differences(baseline: Side, current: Side, pairs: Sequence[tuple[SideCell, SideCell]]) -> tuple[Difference, ...]:
    """Everything that was not the same, the widest first."""
    differing = _differing("machine", baseline.machine, current.machine)
    differing += _differing("state", baseline.state, current.state)
    if baseline.protocol is None or current.protocol is None:
        before, after = ("unreadable" if side.protocol is None else "known" for side in (baseline, current))
        differing.append(Difference("protocol", "of the profile", before, after))
    else:
        differing += _differing("protocol", baseline.protocol, current.protocol)
    differing += _differing("versions", baseline.versions, current.versions)
    for name, side in (("baseline", baseline), ("current", current)):
        if side.status != "complete":
            differing.append(Difference("session", f"{name} ended", "complete", side.status))
    return (*differing, *_of_cells(pairs))


def _differing(area: Area, before: Facts, after: Facts) -> list[Difference]:
    return [
        Difference(area, name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if not _equal(name, before.get(name), after.get(name))
    ]


def _equal(name: str, before: Scalar | None, after: Scalar | None) -> bool:
    numbers = isinstance(before, (int, float)) and isinstance(after, (int, float))
    if name in _LOOSE and numbers:
        return math.isclose(float(before or 0), float(after or 0), rel_tol=_LOOSE[name])
    return before == after


def _of_cells(pairs: Sequence[tuple[SideCell, SideCell]]) -> list[Difference]:
    """What differs within matched cells; the same difference of several cells is said once."""
    counts: dict[Difference, int] = {}
    for before, after in pairs:
        differing = _differing("cell", before.facts, after.facts)
        if before.artifact_hash != after.artifact_hash:
            hashes = (_short(before.artifact_hash), _short(after.artifact_hash))
            differing.append(Difference("model", "content hash", *hashes))
        differing += _sensors(before, after)
        for difference in differing:
            counts[difference] = counts.get(difference, 0) + 1
    return [
        Difference(difference.area, difference.name, difference.before, difference.after, count)
        for difference, count in counts.items()
    ]


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]


def _sensors(before: SideCell, after: SideCell) -> list[Difference]:
    ours = {e.provenance: e.basis for e in after.estimates if e.metric == "energy"}
    return [
        Difference("sensor", f"of {estimate.provenance} energy", estimate.basis, ours[estimate.provenance])
        for estimate in before.estimates
        if estimate.metric == "energy" and estimate.provenance in ours and ours[estimate.provenance] != estimate.basis
    ]


def same_sensor_scale(differing: Sequence[Difference]) -> bool:
    """Whether both runs' sensors are off by the same factor, so that it cancels in a ratio."""
    return not any(difference.area in ("machine", "state") and difference.name in _SCALES for difference in differing)
