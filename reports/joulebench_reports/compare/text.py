"""The comparison of two runs in words: terminal, Markdown for a pull request, JSON."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from joulebench.meter.comparison import ASSUMED_START_U
from joulebench.meter.uncertainty import PROCESSES_AS_UNITS
from joulebench_reports.compare.changes import COMPARED, Change, RunComparison
from joulebench_reports.compare.side import METRICS, Side, SideCell
from joulebench_reports.data.jsonformat import finite
from joulebench_reports.judging.ratios import MODEL_U, RUN_TO_RUN
from joulebench_reports.text.markdown import escape
from joulebench_reports.words.text import UNKNOWN, data_size, number, percent, plain, seconds, with_interval

if TYPE_CHECKING:
    from rich.console import Console

JSON_FORMAT: Final = "joulebench-comparison"
JSON_VERSION: Final = 1
#: By which a build finds its own comment again, to write over it.
MARKER: Final = "<!-- joulebench compare -->"

_WORDS: Final = {
    "worse": "WORSE",
    "better": "better",
    "small": "within the threshold",
    "no_change": "no change shown",
    "cannot_tell": "cannot tell",
    "not_compared": "not compared",
}
#: Width of an interval (1: a hundred per cent) whose digits say nothing any more.
_WIDEST: Final = 4.0
_HEADER: Final = ("cell", "figure", "baseline", "current", "change", "verdict")
#: Columns of numbers.
_RIGHT: Final = (2, 3, 4)


def headline(comparison: RunComparison) -> str:
    """The outcome in one line: what became worse, and of how many figures that cannot be said."""
    if comparison.same_session:
        return "both are the same session: there is nothing to compare"
    compared = len(comparison.with_verdict(*COMPARED))
    worse, better = len(comparison.with_verdict("worse")), len(comparison.with_verdict("better"))
    undecided = len(comparison.with_verdict("cannot_tell")) + sum(
        change.blind for change in comparison.with_verdict("no_change")
    )
    figures = compared + len(comparison.with_verdict("cannot_tell"))
    if not compared:
        return "nothing could be compared"
    parts = [f"{worse} regression{'' if worse == 1 else 's'}"] if worse else []
    parts += [f"{better} better"] if better else []
    if undecided:
        parts.append(f"{undecided} cannot be decided (a change as large as the threshold would have been missed)")
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
            "The interval of the change must exclude none as well; intervals hold at 95 % for all "
            f"{len(tested)} figures together (Bonferroni). The runs did not take turns: what drifted on "
            "the machine between them is in no interval."
        )
    if any(_processes(change) < PROCESSES_AS_UNITS for change in tested):
        parts.append(
            f"Cells of fewer than three processes: starts are assumed to differ by {percent(ASSUMED_START_U)} (1 σ)."
        )
    if any(change.provenance == "estimated" for change in tested):
        parts.append(f"Estimated energies: the model's error of {percent(MODEL_U)} (1 σ) is in the interval.")
    if tested and all(side.state.get(RUN_TO_RUN) is None for side in (comparison.baseline, comparison.current)):
        parts.append("How runs differ from one to the next was not measured ('joulebench selftest --runs 10').")
    if any(not METRICS[change.metric].scatters for change in comparison.changes):
        parts.append("Peak memory and perplexity have no interval: the threshold alone judges.")
    return " ".join(parts)


def _processes(change: Change) -> int:
    """Processes of the side that has fewer."""
    return min(0 if e is None else e.processes or 0 for e in (change.before, change.after))


def row(change: Change) -> tuple[str, ...]:
    """The texts of a change, in the order of the table's columns."""
    verdict = _WORDS[change.verdict]
    return (
        plain(change.cell),
        plain(change.title),
        _value(change, None if change.before is None else change.before.value),
        _value(change, None if change.after is None else change.after.value),
        change_text(change),
        f"{verdict}: {plain(change.reason)}" if change.reason else verdict,
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
    return f"{plain(side.session_id)} (profile {plain(side.profile_name)}, {date})"


def _missing(cells: Sequence[tuple[SideCell, str]]) -> list[tuple[str, str]]:
    return [(plain(cell.label), plain(why)) for cell, why in cells]


def as_terminal(comparison: RunComparison, width: int) -> str:
    """The comparison for a terminal of a width, worst first."""
    from rich.console import Console
    from rich.text import Text

    out = io.StringIO()
    console = Console(
        file=out, width=width, highlight=False, markup=False, emoji=False, color_system=None, legacy_windows=False
    )
    console.print(Text(headline(comparison).capitalize()))
    console.print(Text(f"baseline: {_title_of(comparison.baseline)}"))
    console.print(Text(f"current:  {_title_of(comparison.current)}"))
    if comparison.changes:
        console.print()
        _terminal_table(console, _ordered(comparison))
        console.print(Text(rule(comparison)))
    _terminal_notes(
        console, "Not the same in both runs", [("", plain(difference)) for difference in comparison.differences]
    )
    _terminal_notes(console, "Only in the baseline", _missing(comparison.only_baseline))
    _terminal_notes(console, "Only in the current run", _missing(comparison.only_current))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _ordered(comparison: RunComparison) -> list[Change]:
    """Regressions first, then what became better, then the rest in its order."""
    order = {"worse": 0, "better": 1}
    return sorted(comparison.changes, key=lambda change: order.get(change.verdict, 2))


def _terminal_table(console: Console, changes: Sequence[Change]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for place, header in enumerate(_HEADER):
        table.add_column(
            Text(header), justify="right" if place in _RIGHT else "left", no_wrap=place in _RIGHT, overflow="fold"
        )
    for change in changes:
        table.add_row(*map(Text, row(change)))
    console.print(table)


def _terminal_notes(console: Console, heading: str, notes: Sequence[tuple[str, str]]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if not notes:
        return
    console.print()
    console.print(Text(heading))
    for term, text in notes:
        console.print(Padding(Text(f"{term}: {text}" if term else text), (0, 0, 0, 2)))


def as_markdown(comparison: RunComparison) -> str:
    """The comparison as a comment of a pull request: the outcome open, the rest folded."""
    worse, better = comparison.with_verdict("worse"), comparison.with_verdict("better")
    lines = [MARKER, f"### joulebench: {headline(comparison)}", ""]
    lines += [f"{escape(_title_of(comparison.current))} against {escape(_title_of(comparison.baseline))}", ""]
    lines += _section("Regressions", worse) + _section("Better", better)
    if comparison.differences:
        lines += ["**Not the same in both runs**", ""]
        lines += [*(f"- {escape(difference)}" for difference in comparison.differences), ""]
    for heading, cells in (
        ("Only in the baseline", comparison.only_baseline),
        ("Only in the current run", comparison.only_current),
    ):
        if cells:
            lines += [f"**{heading}**", ""]
            lines += [*(f"- {escape(a)}: {escape(b)}" for a, b in _missing(cells)), ""]
    rest = [change for change in comparison.changes if change.verdict not in ("worse", "better")]
    if rest:
        count = f"{len(rest)} other figure{'' if len(rest) == 1 else 's'}"
        lines += [f"<details><summary>{count}</summary>", "", *_table(rest), "", "</details>", ""]
    if comparison.changes:
        lines += [escape(rule(comparison))]
    return "\n".join(lines).rstrip() + "\n"


def _section(heading: str, changes: Sequence[Change]) -> list[str]:
    return [f"**{heading}**", "", *_table(changes), ""] if changes else []


def _table(changes: Sequence[Change]) -> list[str]:
    marks = " | ".join("---:" if place in _RIGHT else "---" for place in range(len(_HEADER)))
    rows = [" | ".join(escape(text) for text in row(change)) for change in changes]
    return [f"| {line} |" for line in (" | ".join(_HEADER), marks, *rows)]


def as_json(comparison: RunComparison) -> str:
    """The comparison for machines; unknown is null."""
    document = {
        "format": JSON_FORMAT,
        "format_version": JSON_VERSION,
        "headline": headline(comparison),
        "exit_code": comparison.exit_code,
        "thresholds": dict(comparison.thresholds),
        "baseline": _about(comparison.baseline),
        "current": _about(comparison.current),
        "changes": [dataclasses.asdict(change) for change in comparison.changes],
        "differences": [dataclasses.asdict(difference) for difference in comparison.differences],
        "only_baseline": [_absent(cell, why) for cell, why in comparison.only_baseline],
        "only_current": [_absent(cell, why) for cell, why in comparison.only_current],
    }
    return json.dumps(finite(document), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _about(side: Side) -> dict[str, object]:
    names = ("session_id", "created_at", "status", "profile_name")
    return {name: getattr(side, name) for name in names}


def _absent(cell: SideCell, why: str) -> dict[str, object]:
    return {"label": cell.label, "identity": dict(cell.identity), "reason": why}
