"""The contents of a report: which subjects it has, in which order, and how deep each lies.

To move a subject, or to show it at another depth, is to change a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from joulebench.api import Settings
from joulebench_reports.notes.trust import banner, machine_lines, model_names
from joulebench_reports.sections.answer import answer_section
from joulebench_reports.sections.comparisons import charts_section, tradeoff_section
from joulebench_reports.sections.details import details_section
from joulebench_reports.sections.extrapolation import extrapolation_section
from joulebench_reports.sections.limits import limits_section
from joulebench_reports.sections.machine import machine_section
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.matrix import matrix_section
from joulebench_reports.sections.memory import memory_section
from joulebench_reports.sections.operators import operators_section
from joulebench_reports.sections.otherunits import other_units_section
from joulebench_reports.sections.overview import overview_section, sessions_section
from joulebench_reports.sections.report import Banner, Depth, Report, Section
from joulebench_reports.sections.samples import samples_section
from joulebench_reports.sections.scaling import scaling_section
from joulebench_reports.sections.techniques import technique_notes_section, techniques_section
from joulebench_reports.sections.timeline import timeline_section
from joulebench_reports.sections.trust import (
    legend_section,
    missing_section,
    notes_section,
    trust_section,
    unmeasured_section,
)
from joulebench_reports.sections.verdicts import verdicts_section
from joulebench_reports.sections.view import prices_of, view_of
from joulebench_reports.summary.joining import summary_of
from joulebench_reports.values.figures import SessionSummary
from joulebench_reports.values.options import MOST_TIMELINES, baseline_of

if TYPE_CHECKING:
    from joulebench.session import Session

#: Share of disturbed blocks that is said above everything else.
MUCH_DISTURBED: Final = 0.10

_SUBJECTS: Final[tuple[tuple[Depth, Callable[[Material], Iterator[Section]]], ...]] = (
    (Depth.GLANCE, answer_section),
    (Depth.PAGE, sessions_section),
    (Depth.GLANCE, matrix_section),
    (Depth.GLANCE, overview_section),
    (Depth.PAGE, charts_section),
    (Depth.PAGE, tradeoff_section),
    (Depth.GLANCE, verdicts_section),
    (Depth.NOTES, other_units_section),
    (Depth.GLANCE, scaling_section),
    (Depth.GLANCE, extrapolation_section),
    (Depth.GLANCE, techniques_section),
    (Depth.NOTES, technique_notes_section),
    (Depth.PAGE, limits_section),
    (Depth.GLANCE, operators_section),
    (Depth.PAGE, timeline_section),
    (Depth.DOCUMENT, memory_section),
    (Depth.PAGE, details_section),
    (Depth.NOTES, missing_section),
    (Depth.NOTES, unmeasured_section),
    (Depth.NOTES, trust_section),
    (Depth.PAGE, samples_section),
    (Depth.PAGE, machine_section),
    (Depth.PAGE, legend_section),
)


def report_on(sessions: Sequence[Session], settings: Settings, depth: Depth) -> Report:
    """The report of these sessions, by the settings that renderers share."""
    timelines = int(settings.get("timelines", MOST_TIMELINES))
    summary = summary_of(sessions, baseline_of(settings))
    return report_of(Material(*summary, timelines, view_of(settings), prices_of(settings)), depth)


def report_of(material: Material, depth: Depth) -> Report:
    """The report down to a depth."""
    summary = material.summary
    subjects = [subject for deep, subject in _SUBJECTS if deep <= depth]
    if depth < Depth.NOTES:
        subjects.append(notes_section)
    return Report(
        title=model_names(summary),
        facts=tuple(_facts(summary)),
        lines=tuple(machine_lines(summary)),
        banner=_banner(summary),
        sections=tuple(section for subject in subjects for section in subject(material)),
        footer=f"joulebench {summary.joulebench_version}, session {summary.session_id}",
    )


def answer_of(material: Material) -> tuple[Section, ...]:
    """The answer alone."""
    return tuple(answer_section(material))


def _facts(summary: SessionSummary) -> Iterator[str]:
    yield summary.profile_name
    yield (summary.created_at or "date unknown").replace("T", " ").replace("+00:00", " UTC")
    yield f"session {summary.status}" + ("" if summary.status == "complete" else ": figures so far")
    if summary.protocol:
        yield f"protocol {summary.protocol}"


def _banner(summary: SessionSummary) -> Banner:
    energies = [energy for cell in summary.shown for energy in cell.energy if energy.gross.value is not None]
    provenances = tuple(dict.fromkeys(energy.provenance for energy in energies))
    disturbed = _disturbed(summary)
    text = f"{banner(summary)}. {disturbed}" if disturbed else banner(summary)
    return Banner(text, provenances, caution="measured" not in provenances or bool(disturbed))


def _disturbed(summary: SessionSummary) -> str:
    """What a reader should know before any figure: how much of the run was not its own."""
    blocks = sum(cell.blocks for cell in summary.shown)
    disturbed = sum(cell.disturbed_blocks for cell in summary.shown)
    if not blocks or disturbed <= MUCH_DISTURBED * blocks:
        return ""
    return (
        f"DISTURBED: {disturbed} of {blocks} blocks had other programs or a lowered clock in them; "
        "repeat with 'joulebench run --until-quiet'"
    )
