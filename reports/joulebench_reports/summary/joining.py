"""Several sessions in one report: each cell under its session's name, no figure merged.

What belongs to a machine stays with it: limits, operators, verdicts and trust are of one session
each. Provenances are kept apart as they are within a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.values.figures import CellSummary, ChannelReport, ProbeReport, SessionSummary
from joulebench_reports.values.verdicts import VerdictTable
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from joulebench.session import Session

#: A name in front of every label should leave room for the label.
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the tables of a summary's cells are: the session, and the cell's id there."""

    places: Mapping[str, tuple[Session, str]]

    def of(self, cell: CellSummary) -> tuple[Session, str]:
        """Session and own id of a cell."""
        return self.places[cell.id]


def alone(session: Session, summary: SessionSummary) -> Sources:
    """The sources of a summary of one session."""
    return Sources({cell.id: (session, cell.id) for cell in summary.cells})


def join(sessions: Sequence[Session], baseline: str | None = None) -> tuple[SessionSummary, Sources]:
    """One summary of all sessions, and where its cells come from.

    ``baseline`` is looked up in each session. Raises :class:`JoulebenchError` where none has it.
    """
    from joulebench_reports.summary.session import summarise

    _check_baseline(sessions, baseline)
    found = [summarise(each, baseline if _has(each, baseline) else None) for each in sessions]
    names = session_names(found)
    parts = [_renamed(*each) for each in zip(found, names, range(1, len(found) + 1), strict=True)]
    places = {
        own.id: (session, cell.id)
        for session, before, part in zip(sessions, found, parts, strict=True)
        for cell, own in zip(before.cells, part.cells, strict=True)
    }
    return _sum(parts), Sources(places)


def _has(session: Session, name: str | None) -> bool:
    labels = session.labels()
    return name in labels or name in labels.values()


def _check_baseline(sessions: Sequence[Session], baseline: str | None) -> None:
    if baseline is None or any(_has(each, baseline) for each in sessions):
        return
    known = {label for each in sessions for label in each.labels().values()}
    raise JoulebenchError(f"no cell is named '{baseline}'", where="baseline", hint=unknown_name_hint(baseline, known))


def session_names(found: Sequence[SessionSummary]) -> list[str]:
    """A short name for each session: its processor where that tells them apart, else its id."""
    processors = [_processor(each) for each in found]
    if None not in processors and len(set(processors)) == len(found):
        return [str(each) for each in processors]
    ids = [plain(each.session_id) for each in found]
    if len(set(ids)) == len(ids):
        return ids
    return [f"{name} ({place})" for place, name in enumerate(ids, start=1)]


def _processor(summary: SessionSummary) -> str | None:
    cpu = summary.machine.get("cpu")
    model = cpu.get("model") if isinstance(cpu, dict) else None
    return plain(model)[:_LONGEST_NAME].strip() if model else None


def _renamed(summary: SessionSummary, name: str, number: int) -> SessionSummary:
    def label(text: str) -> str:
        return f"{name} · {text}"

    def identifier(own: str) -> str:
        return f"{number}-{own}"

    def verdicts(table: VerdictTable) -> VerdictTable:
        return replace(
            table,
            baseline_id=identifier(table.baseline_id),
            baseline=label(table.baseline),
            verdicts=tuple(
                replace(each, cell_id=identifier(each.cell_id), label=label(each.label)) for each in table.verdicts
            ),
        )

    return replace(
        summary,
        name=name,
        cells=tuple(
            replace(cell, id=identifier(cell.id), label=label(cell.label), session=name) for cell in summary.cells
        ),
        verdicts=tuple(map(verdicts, summary.verdicts)),
        costs=tuple(replace(each, model=label(each.model)) for each in summary.costs),
    )


def _sum(parts: Sequence[SessionSummary]) -> SessionSummary:
    started = [each.created_at for each in parts if each.created_at is not None]
    ended = [each.finished_at for each in parts if each.finished_at is not None]
    return SessionSummary(
        session_id=f"{len(parts)} sessions",
        status=_several(each.status for each in parts),
        created_at=min(started, default=None),
        finished_at=max(ended, default=None),
        profile_name=_several(each.profile_name for each in parts),
        joulebench_version=_several(each.joulebench_version for each in parts),
        seed=None,
        machine={},
        preflight={},
        versions={},
        probes=_probes(parts),
        channels=_channels(parts),
        cells=tuple(cell for each in parts for cell in each.cells),
        verdicts=tuple(table for each in parts for table in each.verdicts),
        costs=tuple(table for each in parts for table in each.costs),
        protocol=_several(each.protocol for each in parts if each.protocol) or None,
        parts=tuple(parts),
    )


def _several(texts: Iterable[str]) -> str:
    """Distinct texts, each once."""
    return ", ".join(dict.fromkeys(texts))


def _probes(parts: Sequence[SessionSummary]) -> tuple[ProbeReport, ...]:
    """A probe that all sessions say the same of once, another with its session's name."""
    said: dict[ProbeReport, list[str]] = {}
    for part in parts:
        for probe in part.probes:
            said.setdefault(probe, []).append(part.name)
    return tuple(
        probe if len(names) == len(parts) else replace(probe, probe=f"{name} · {probe.probe}")
        for probe, names in said.items()
        for name in (names if len(names) < len(parts) else names[:1])
    )


def _channels(parts: Sequence[SessionSummary]) -> tuple[ChannelReport, ...]:
    """Every channel as it was found; equal ones of several machines once."""
    return tuple(dict.fromkeys(channel for part in parts for channel in part.channels))
