"""Which cell of one run is which of another: by what was measured, never by its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from joulebench.api import Scalar
from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.compare.side import Facts, Side, SideCell

_Key = tuple[tuple[str, Scalar | None], ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """Pairs (baseline, current), and the cells that one side alone has, with the reason."""

    pairs: tuple[tuple[SideCell, SideCell], ...]
    only_baseline: tuple[tuple[SideCell, str], ...]
    only_current: tuple[tuple[SideCell, str], ...]


def match(baseline: Side, current: Side, ignored: Sequence[str] = ()) -> Matched:
    """Match cells of equal identity that have figures on both sides.

    Raises :class:`JoulebenchError` for an ignored name that no cell has, and where cells of one
    side cannot be told apart without it.
    """
    _check(ignored, (*baseline.cells, *current.cells))
    theirs, ours = _by_key(baseline, ignored), _by_key(current, ignored)
    pairs: list[tuple[SideCell, SideCell]] = []
    only_baseline: list[tuple[SideCell, str]] = []
    only_current: list[tuple[SideCell, str]] = []
    for key, after in ours.items():
        before = theirs.get(key)
        if before is not None and before.estimates and after.estimates:
            pairs.append((before, after))
        elif after.estimates:
            only_current.append((after, _why(after, before, theirs, "the baseline")))
    for key, before in theirs.items():
        other = ours.get(key)
        if before.estimates and (other is None or not other.estimates):
            only_baseline.append((before, _why(before, other, ours, "the current run")))
    return Matched(tuple(pairs), tuple(only_baseline), tuple(only_current))


def _check(ignored: Sequence[str], cells: Sequence[SideCell]) -> None:
    known = {name for cell in cells for name in cell.identity}
    for name in ignored:
        if name not in known:
            raise JoulebenchError(f"no cell has '{name}'", where="--ignore", hint=unknown_name_hint(name, known))


def _by_key(side: Side, ignored: Sequence[str]) -> dict[_Key, SideCell]:
    by_key: dict[_Key, SideCell] = {}
    for cell in side.cells:
        key = tuple(sorted((k, v) for k, v in cell.identity.items() if k not in ignored))
        if key in by_key and ignored:
            raise JoulebenchError(
                f"'{by_key[key].label}' and '{cell.label}' of {side.session_id} differ only in {' and '.join(ignored)}",
                where="--ignore",
                hint="ignore less, or measure one of them alone",
            )
        by_key.setdefault(key, cell)
    return by_key


def _why(cell: SideCell, other: SideCell | None, others: Mapping[_Key, SideCell], there: str) -> str:
    """Why a cell has no partner: what became of it there, or in what the nearest differs."""
    if other is not None:
        return f"{other.status} in {there}" + (f": {other.cause}" if other.cause else "")
    near = min(others.values(), key=lambda candidate: len(_differing(cell.identity, candidate.identity)), default=None)
    if near is None:
        return f"{there} has no cells"
    names = _differing(cell.identity, near.identity)
    if len(names) > 3:
        return f"{there} has no such cell"
    parts = [f"{n} = {_shown(near.identity, n)}, here {_shown(cell.identity, n)}" for n in names]
    return f"the nearest of {there}, {near.label}, has {'; '.join(parts)}"


def _differing(one: Facts, other: Facts) -> list[str]:
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _shown(identity: Facts, name: str) -> str:
    return str(identity[name]) if identity.get(name) is not None else "unset"
