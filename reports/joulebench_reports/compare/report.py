"""The comparison of two runs as a report: what became worse, what became better, what differs beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from joulebench.meter.comparison import ASSUMED_START_U
from joulebench.meter.uncertainty import PROCESSES_AS_UNITS
from joulebench_reports.compare.changes import COMPARED, Change, RunComparison
from joulebench_reports.compare.side import METRICS, Side, SideCell
from joulebench_reports.judging.ratios import MODEL_U, RUN_TO_RUN
from joulebench_reports.sections.report import Column, Fold, Folds, NoteList, Paragraph, Report, Row, Section, Table
from joulebench_reports.text.markdown import markdown_text
from joulebench_reports.values.note import Note
from joulebench_reports.words.text import UNKNOWN, data_size, number, percent, seconds, with_interval

#: By which a build finds its own comment again, to write over it.
MARKER: Final = "<!-- joulebench compare -->"

_WORDS: Final = {
    "worse": "WORSE",
    "better": "better",
    "small": "within the threshold",
    "no_change": "no significant change",
    "cannot_tell": "cannot tell",
    "not_compared": "not compared",
}
#: Width of an interval (1: a hundred per cent) whose digits say nothing any more.
_WIDEST: Final = 4.0
_COLUMNS: Final = (
    Column("cell", folds=True),
    Column("figure", folds=True),
    Column("baseline", numeric=True),
    Column("current", numeric=True),
    Column("change", numeric=True),
    Column("verdict", folds=True),
)


def comparison_report(comparison: RunComparison) -> Report:
    """The outcome first, the rest folded where a medium can."""
    outcome = headline(comparison)
    return Report(
        title=outcome[0].upper() + outcome[1:],
        sections=tuple(_sections(comparison)),
        lines=(f"baseline: {_title_of(comparison.baseline)}", f"current: {_title_of(comparison.current)}"),
        footer="joulebench compare",
    )


def comment(report: Report) -> str:
    """The comparison as a comment of a pull request, which a build finds again by its first line."""
    return f"{MARKER}\n{markdown_text(report, level=3)}"


def _sections(comparison: RunComparison) -> Iterator[Section]:
    worse, better = comparison.with_verdict("worse"), comparison.with_verdict("better")
    others = [change for change in comparison.changes if change.verdict not in ("worse", "better")]
    if worse:
        yield Section("worse", "Regressions", (_table(worse),))
    if better:
        yield Section("better", "Better", (_table(better),))
    if others:
        count = f"{len(others)} figure{'' if len(others) == 1 else 's'}"
        yield Section("others", "Neither", (Folds("others-data", (Fold(count, (_table(others),)),)),))
    if comparison.changes:
        yield Section("rule", "What counts", (Paragraph(rule(comparison)),))
    for identifier, heading, notes in (
        (
            "differences",
            "Not the same in both runs",
            [Note(*difference.words) for difference in comparison.differences],
        ),
        ("only-baseline", "Only in the baseline", _missing(comparison.only_baseline)),
        ("only-current", "Only in the current run", _missing(comparison.only_current)),
    ):
        if notes:
            yield Section(identifier, heading, (NoteList(tuple(notes)),))


def headline(comparison: RunComparison) -> str:
    """The outcome in one line: what became worse, and of how many figures that cannot be said."""
    if comparison.same_session:
        return "both are the same session: there is nothing to compare"
    compared = len(comparison.with_verdict(*COMPARED))
    worse, better = len(comparison.with_verdict("worse")), len(comparison.with_verdict("better"))
    undecided = len(comparison.undecided)
    figures = compared + len(comparison.with_verdict("cannot_tell"))
    if not compared:
        return "nothing could be compared"
    parts = [f"{worse} regression{'' if worse == 1 else 's'}"] if worse else []
    parts += [f"{better} better"] if better else []
    if undecided:
        parts.append(f"{undecided} cannot be decided (a change as large as the threshold would not have been detected)")
    elif not worse:
        parts.insert(0, "no regressions")
    return f"of {figures} figure{'' if figures == 1 else 's'}: {', '.join(parts)}"


def rule(comparison: RunComparison) -> str:
    """What counts as a regression here, in words."""
    groups = {METRICS[change.metric].group: None for change in comparison.changes}
    limits = {group: f"{comparison.thresholds[group] * 100:.3g} %" for group in groups}
    if len(set(limits.values())) == 1:
        limit = next(iter(limits.values()))
    else:
        limit = "the threshold (" + ", ".join(f"{k} {v}" for k, v in limits.items()) + ")"
    tested = [change for change in comparison.changes if change.level is not None]
    parts = [f"Worse or better: changed by more than {limit}."]
    if tested:
        parts.append(
            "The interval of the change must exclude zero as well; intervals hold at 95 % for all "
            f"{len(tested)} figures together (Bonferroni). The runs did not take turns: drift of "
            "the machine between them is not included."
        )
    if any(_processes(change) < PROCESSES_AS_UNITS for change in tested):
        parts.append(
            "Cells with fewer than three processes: process starts are assumed to differ by "
            f"{percent(ASSUMED_START_U)} (1 σ)."
        )
    if any(change.provenance == "estimated" for change in tested):
        parts.append(f"Estimated energies: the model's error of {percent(MODEL_U)} (1 σ) is included.")
    if tested and all(side.state.get(RUN_TO_RUN) is None for side in (comparison.baseline, comparison.current)):
        parts.append("The spread from run to run was not measured ('joulebench selftest --runs 10').")
    if any(not METRICS[change.metric].scatters for change in comparison.changes):
        parts.append("Peak memory and perplexity have no interval: the threshold alone judges.")
    return " ".join(parts)


def _processes(change: Change) -> int:
    """Processes of the side that has fewer."""
    return min(0 if e is None else e.processes or 0 for e in (change.before, change.after))


def _table(changes: Sequence[Change]) -> Table:
    return Table(_COLUMNS, tuple(map(_row, changes)))


def _row(change: Change) -> Row:
    verdict = _WORDS[change.verdict]
    return (
        change.cell,
        change.title,
        _value(change, None if change.before is None else change.before.value),
        _value(change, None if change.after is None else change.after.value),
        change_text(change),
        f"{verdict}: {change.reason}" if change.reason else verdict,
    )


def _value(change: Change, value: float | None) -> str:
    if change.metric == "memory":
        return data_size(value)
    if change.metric in ("ttft", "tpot"):
        return seconds(value)
    return number(value, 4 if change.metric == "perplexity" else 3)


def change_text(change: Change) -> str:
    """``+12.3 ± 1.1 %``."""
    if change.change is None:
        return UNKNOWN
    sign = "+" if change.change > 0 else ""
    if change.low is None or change.high is None:
        return f"{sign}{number(change.change * 100)} %"
    if change.high - change.low > _WIDEST:
        return f"{sign}{number(change.change * 100)} ± over {_WIDEST * 50:.0f} %"
    scaled = (x * 100 for x in (change.change, change.low, change.high))
    return f"{sign}{with_interval(*scaled)} %"


def _title_of(side: Side) -> str:
    date = (side.created_at or "date unknown")[:16].replace("T", " ")
    return f"{side.session_id} (profile {side.profile_name}, {date})"


def _missing(cells: Sequence[tuple[SideCell, str]]) -> list[Note]:
    return [Note(cell.label, why) for cell, why in cells]
