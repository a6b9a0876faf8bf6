"""Several sessions in one report: each cell under its session's name, no figure merged.

What belongs to a machine stays with it: limits, operators, verdicts and trust are of one session
each. Provenances are kept apart as they are within a session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.values.figures import CellSummary, ChannelReport, ProbeReport, SessionSummary
from joulebench_reports.values.verdicts import VerdictTable
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from joulebench.session import Session

#: A name in front of every label should leave room for the label.
_LONGEST_NAME = 32
#: The time in front of a session's name.
_STARTED: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the tables of a summary's cells are: the session, and the cell's id there."""

    places: Mapping[str, tuple[Session, str]]

    def of(self, cell: CellSummary) -> tuple[Session, str]:
        """Session and own id of a cell."""
        return self.places[cell.id]


def summary_of(sessions: Sequence[Session], baseline: str | None = None) -> tuple[SessionSummary, Sources]:
    """The summary of one session or of several, and where its cells come from."""
    from joulebench_reports.summary.session import summarise

    if len(sessions) > 1:
        return join(sessions, baseline)
    summary = summarise(sessions[0], baseline)
    return summary, Sources({cell.id: (sessions[0], cell.id) for cell in summary.cells})


def join(sessions: Sequence[Session], baseline: str | None = None) -> tuple[SessionSummary, Sources]:
    """One summary of all sessions, and where its cells come from.

    ``baseline`` is looked up in each session. Raises :class:`JoulebenchError` where none has it.
    """
    from joulebench_reports.summary.session import summarise

    _check_baseline(sessions, baseline)
    summaries = [summarise(session, baseline if _has(session, baseline) else None) for session in sessions]
    names = session_names(summaries)
    parts = [_renamed(*own) for own in zip(summaries, names, range(1, len(summaries) + 1), strict=True)]
    places = {
        own.id: (session, cell.id)
        for session, before, part in zip(sessions, summaries, parts, strict=True)
        for cell, own in zip(before.cells, part.cells, strict=True)
    }
    return _sum(parts), Sources(places)


def _has(session: Session, name: str | None) -> bool:
    labels = session.labels()
    return name in labels or name in labels.values()


def _check_baseline(sessions: Sequence[Session], baseline: str | None) -> None:
    if baseline is None or any(_has(session, baseline) for session in sessions):
        return
    known = {label for session in sessions for label in session.labels().values()}
    raise JoulebenchError(f"no cell is named '{baseline}'", where="baseline", hint=unknown_name_hint(baseline, known))


def session_names(summaries: Sequence[SessionSummary]) -> list[str]:
    """A short name for each session: its processor where that tells them apart, otherwise its own without the time."""
    processors = [_processor(summary) for summary in summaries]
    if None not in processors and len(set(processors)) == len(summaries):
        return [str(processor) for processor in processors]
    names = [_STARTED.sub("", plain(summary.session_id))[:_LONGEST_NAME].strip() for summary in summaries]
    if len(set(names)) == len(names):
        return names
    return [f"{name}#{place}" for place, name in enumerate(names, start=1)]


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
                replace(verdict, cell_id=identifier(verdict.cell_id), label=label(verdict.label))
                for verdict in table.verdicts
            ),
        )

    return replace(
        summary,
        name=name,
        cells=tuple(
            replace(cell, id=identifier(cell.id), label=label(cell.label), session=name) for cell in summary.cells
        ),
        verdicts=tuple(map(verdicts, summary.verdicts)),
        costs=tuple(replace(table, model=label(table.model)) for table in summary.costs),
        extrapolations=tuple(replace(made, label=label(made.label)) for made in summary.extrapolations),
        scalings=tuple(replace(made, session=name) for made in summary.scalings),
    )


def _sum(parts: Sequence[SessionSummary]) -> SessionSummary:
    started = [part.created_at for part in parts if part.created_at is not None]
    ended = [part.finished_at for part in parts if part.finished_at is not None]
    return SessionSummary(
        session_id=f"{len(parts)} sessions",
        status=_several(part.status for part in parts),
        created_at=min(started, default=None),
        finished_at=max(ended, default=None),
        profile_name=_several(part.profile_name for part in parts),
        joulebench_version=_several(part.joulebench_version for part in parts),
        seed=None,
        machine={},
        preflight={},
        versions={},
        probes=_probes(parts),
        channels=_channels(parts),
        cells=tuple(cell for part in parts for cell in part.cells),
        verdicts=tuple(table for part in parts for table in part.verdicts),
        costs=tuple(table for part in parts for table in part.costs),
        extrapolations=tuple(made for part in parts for made in part.extrapolations),
        scalings=tuple(made for part in parts for made in part.scalings),
        protocol=_several(part.protocol for part in parts if part.protocol) or None,
        parts=tuple(parts),
    )


def _several(texts: Iterable[str]) -> str:
    """Distinct texts, each once."""
    return ", ".join(dict.fromkeys(texts))


def _probes(parts: Sequence[SessionSummary]) -> tuple[ProbeReport, ...]:
    """A probe that all sessions say the same of once, another with its session's name."""
    sessions_of: dict[ProbeReport, list[str]] = {}
    for part in parts:
        for probe in part.probes:
            sessions_of.setdefault(probe, []).append(part.name)
    return tuple(
        probe if len(names) == len(parts) else replace(probe, probe=f"{name} · {probe.probe}")
        for probe, names in sessions_of.items()
        for name in (names if len(names) < len(parts) else names[:1])
    )


def _channels(parts: Sequence[SessionSummary]) -> tuple[ChannelReport, ...]:
    """Every channel as it was found; equal ones of several machines once."""
    return tuple(dict.fromkeys(channel for part in parts for channel in part.channels))
