"""``--format analysis``: the analysis for a reader (text, Markdown) or a machine (JSON)."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Availability, Option, Renderer, Settings, require_modules
from joulebench_reports.data.jsonformat import finite
from joulebench_reports.melodi.analysis import Analysis, GroupAnalysis, Model
from joulebench_reports.melodi.findings import ColumnCorrelation, Finding
from joulebench_reports.text.markdown import escape
from joulebench_reports.values.figures import Figure
from joulebench_reports.words.text import MARKS, UNKNOWN, number, plain

if TYPE_CHECKING:
    from joulebench.session import Session

#: Raised when a reader of the old JSON would misread the new one.
FORMAT_VERSION: Final = 1
#: Prompt features shown to a reader; JSON has all of them.
_SHOWN_FEATURES: Final = 8
_WIDTH: Final = 100


class AnalysisRenderer(Renderer):
    """What the energy goes with, models of it, and which of MELODI's findings hold here."""

    name = "analysis"
    summary = "MELODI's analysis: what the energy goes with, and which findings hold here"
    options = (
        Option("form", "str", "text", "how it is written", choices=("text", "markdown", "json")),
        Option(
            "channel", "str", None, "analyse the energy of this channel instead of the counted total of each provenance"
        ),
        Option("seed", "int", 0, "seed of the resampling", minimum=0),
    )
    suffix: ClassVar[str] = ""

    def available(self) -> Availability:
        """Needs numpy."""
        return require_modules(["numpy"], "melodi")

    def render(self, session: Session, settings: Settings) -> str:
        """The analysis; unknown is null in JSON and a dash with its reason elsewhere."""
        from joulebench.errors import SessionError
        from joulebench_reports.melodi.analysis import analyse

        channel = settings.get("channel")
        if channel is not None:
            channels = [
                channel["channel"]
                for channel in session.row["channels"] or ()
                if channel["quantity"] in ("energy", "power")
            ]
            if channel not in channels:
                raise SessionError(
                    f"the session has no energy channel '{channel}'",
                    where="--option channel",
                    hint=f"it has: {', '.join(channels) or 'none'}",
                )
        analysis = analyse(
            session, channel=None if channel is None else str(channel), seed=int(settings.get("seed", 0))
        )
        form = settings.get("form", "text")
        if form == "json":
            return as_json(analysis)
        return as_markdown(analysis) if form == "markdown" else as_text(analysis)


def as_json(analysis: Analysis) -> str:
    """Every figure with interval, provenance and reason."""
    document = {
        "format": "joulebench-melodi-analysis",
        "format_version": FORMAT_VERSION,
        **dataclasses.asdict(analysis),
    }
    return json.dumps(finite(document), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


# -- the document, whatever it is written in -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """A heading with a table and remarks below it."""

    heading: str
    level: int
    remarks: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def _parts(analysis: Analysis) -> Iterator[_Part]:
    remarks = (
        f"intervals are at 95 %, by resampling the prompts (seed {analysis.seed}); those of "
        "correlations are not narrower than Fisher's z; energies are gross",
        *analysis.notes,
    )
    yield _Part(f"Energy of prompts in {analysis.session_id}", 1, remarks)
    for group in analysis.groups:
        yield from _group_parts(group)
    if analysis.findings:
        yield _findings("Over the whole session", 2, analysis.findings)


def _group_parts(group: GroupAnalysis) -> Iterator[_Part]:
    mark = MARKS.get(group.provenance, group.provenance)
    methods = f"{group.provenance}; {', '.join(group.channels)}; {', '.join(group.methods)}"
    size = f"{group.prompts} prompts, {group.requests} requests; {group.resamples:,} resamples"
    yield _Part(f"{group.label}", 2, (f"energy: {methods}", size, *group.notes))
    yield _Part(
        "Joules per response token",
        3,
        (),
        ("figure", f"J/token {mark}".strip()),
        (
            ("ratio of sums: ΣE / Σ response tokens", _figure(group.ratio_of_sums)),
            ("the same, allowing for prompts in a row that are alike", _figure(group.ratio_of_sums_in_order)),
            ("mean of the prompts' ratios", _figure(group.mean_of_ratios)),
            ("median of the prompts' ratios", _figure(group.median_of_ratios)),
        ),
    )
    yield _Part(
        "What the energy goes with (Pearson's r)",
        3,
        (),
        ("column", "r", "r among answers of equal length"),
        tuple(_correlation(correlation) for correlation in group.correlations),
    )
    if group.features:
        shown = group.features[:_SHOWN_FEATURES]
        yield _Part(
            f"Features of the prompt: the strongest {len(shown)} of {len(group.features)}",
            3,
            (),
            ("column", "r", "r among answers of equal length"),
            tuple(_correlation(group) for group in shown),
        )
    yield _Part(
        "Models",
        3,
        _residuals(group),
        ("model", "term", "value"),
        tuple(row for model in (group.length_model, group.phase_model) for row in _model(model)),
    )
    yield _findings("MELODI's findings here", 3, group.findings)


def _findings(heading: str, level: int, findings: Sequence[Finding]) -> _Part:
    return _Part(
        heading,
        level,
        tuple(f"{finding.claim}: {finding.verdict} – {finding.why}{_of(finding.figure)}" for finding in findings),
    )


def _of(figure: Figure | None) -> str:
    return "" if figure is None or figure.value is None else f" ({_bounds(figure)})"


def _bounds(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"{_places(figure.value)}, no interval"
    return f"{_places(figure.value)} [{_places(figure.low)}, {_places(figure.high)}]"


def _places(value: float | None) -> str:
    """A correlation or share: so many places that those near 1 can be told apart."""
    return UNKNOWN if value is None else f"{value:.4f}"


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return f"{UNKNOWN} ({figure.reason_if_null or 'unknown'})"
    if figure.low is None or figure.high is None:
        return f"{number(figure.value, 5)} (no interval)"
    return f"{number(figure.value, 5)} [{number(figure.low, 4)}, {number(figure.high, 4)}]"


def _share(figure: Figure) -> str:
    if figure.value is None:
        return f"{UNKNOWN} ({figure.reason_if_null or 'unknown'})"
    return _bounds(figure)


def _correlation(column: ColumnCorrelation) -> tuple[str, ...]:
    return column.column, _share(column.r), _share(column.beyond)


def _model(model: Model) -> Iterator[tuple[str, ...]]:
    if model.r_squared.value is None:
        yield model.formula, "R²", _share(model.r_squared)
        return
    yield model.formula, "R²", _share(model.r_squared)
    for name, figure in model.terms:
        yield "", f"{name}, {figure.unit}", _figure(figure)
    yield "", "standard deviation of residuals, J", number(model.residual_sd.value, 4)


def _residuals(group: GroupAnalysis) -> tuple[str, ...]:
    quantiles = group.phase_model.residual_quantiles_j
    if quantiles is None:
        return ()
    low, middle, high = (number(quantile, 3) for quantile in quantiles)
    return (f"residuals of {group.phase_model.formula}: 5 % below {low} J, median {middle} J, 5 % above {high} J",)


# -- text and Markdown ----------------------------------------------------------------------------


def as_text(analysis: Analysis) -> str:
    """For a terminal."""
    lines: list[str] = []
    for part in _parts(analysis):
        lines += ["", plain(part.heading)]
        if part.level < 3:
            lines.append("=-"[part.level - 1] * min(_WIDTH, len(plain(part.heading))))
        lines += _aligned(part)
        for remark in part.remarks:
            lines += textwrap.wrap(plain(remark), _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines).strip("\n") + "\n"


def _aligned(part: _Part) -> Iterator[str]:
    rows = [part.header, *part.rows] if part.rows else []
    widths = [max(len(plain(row[i])) for row in rows) for i in range(len(part.header))] if rows else []
    for row in rows:
        cells = [plain(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join(cells)}".rstrip()


def as_markdown(analysis: Analysis) -> str:
    """For an issue or a repository."""
    lines: list[str] = []
    for part in _parts(analysis):
        lines += [f"{'#' * part.level} {escape(part.heading)}", ""]
        if part.rows:
            lines += [
                "| " + " | ".join(escape(cell) for cell in part.header) + " |",
                "|" + " --- |" * len(part.header),
                *("| " + " | ".join(escape(cell) for cell in row) + " |" for row in part.rows),
                "",
            ]
        if part.remarks:
            lines += [*(f"- {escape(remark)}" for remark in part.remarks), ""]
    return "\n".join(lines).rstrip() + "\n"
