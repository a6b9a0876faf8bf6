"""``--format analysis``: the analysis for a reader (text, Markdown, a page) or a machine (JSON)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from joulebench.api import Settings
from joulebench_reports.data.jsonformat import RECORDS, Format, record
from joulebench_reports.html.page import page_text
from joulebench_reports.sections.report import Heading, Item, NoteList, Paragraph, Report, Section, table
from joulebench_reports.text.markdown import markdown_text
from joulebench_reports.text.terminal import terminal_text
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.note import Note
from joulebench_reports.words.text import MARKS, UNKNOWN, number

if TYPE_CHECKING:
    from joulebench.session import Session
    from joulebench_reports.melodi.analysis import Analysis, GroupAnalysis, Model
    from joulebench_reports.melodi.findings import ColumnCorrelation, Finding

#: Prompt features shown to a reader; JSON has all of them.
_SHOWN_FEATURES: Final = 8
_WIDTH: Final = 100

#: Every figure with interval, provenance and reason.
ANALYSIS: Final = Format(
    "joulebench-melodi-analysis",
    2,
    "analysis",
    {
        "figure": RECORDS["figure"],
        "analysis": record(
            "A session's prompts; `seed` is that of the resampling",
            "session_id:text groups:[group] findings:[finding] notes:[text] seed:integer",
        ),
        "group": record(
            "Cells that differ in their workload alone, in energies of one provenance; "
            "`ratio_of_sums_in_order` allows for prompts in a row that are alike",
            "label:text model:text device:text? provenance:text methods:[text] channels:[text] requests:integer",
            "points:integer prompts:integer resamples:integer ratio_of_sums:figure ratio_of_sums_in_order:figure",
            "mean_of_ratios:figure median_of_ratios:figure correlations:[correlation] features:[correlation]",
            "length_model:model phase_model:model findings:[finding] notes:[text]",
        ),
        "correlation": record(
            "Pearson's r of the energy with a column; `beyond` is r among answers of equal length",
            "column:text r:figure beyond:figure",
        ),
        "model": record(
            "A least-squares model; `terms` are its coefficients by name",
            "formula:text terms:{figure} r_squared:figure residual_sd:figure residual_quantiles_j:[number]?",
        ),
        "finding": record(
            "A claim of MELODI's, with this session's verdict", "claim:text verdict:text figure:figure? why:text"
        ),
    },
)


def analysis_text(session: Session, settings: Settings) -> str:
    """The analysis; unknown is null in JSON and a dash with its reason elsewhere."""
    from joulebench.errors import SessionError
    from joulebench_reports.melodi.analysis import analyse

    channel = settings.get("channel")
    if channel is not None:
        channels = [
            channel.channel for channel in session.row.channels or () if channel.quantity in ("energy", "power")
        ]
        if channel not in channels:
            raise SessionError(
                f"the session has no energy channel '{channel}'",
                where="--option channel",
                hint=f"it has: {', '.join(channels) or 'none'}",
            )
    analysis = analyse(session, channel=None if channel is None else str(channel), seed=int(settings.get("seed", 0)))
    form = settings.get("form", "text")
    if form == "json":
        return ANALYSIS.text(analysis)
    report = analysis_report(analysis)
    if form == "html":
        return page_text(report, None)
    return markdown_text(report) if form == "markdown" else terminal_text(report, _WIDTH)


def analysis_report(analysis: Analysis) -> Report:
    """A section for each group, and what is said of all of them."""
    about = (
        f"intervals are at 95 %, by resampling the prompts (seed {analysis.seed}); those of "
        "correlations are not narrower than Fisher's z; energies are gross"
    )
    sections = [
        Section(f"group-{place}", group.label, tuple(_items(group))) for place, group in enumerate(analysis.groups)
    ]
    if analysis.findings:
        sections.append(Section("findings", "Over the whole session", (_findings(analysis.findings),)))
    title = f"Energy of prompts in {analysis.session_id}"
    return Report(title, tuple(sections), lines=(about, *analysis.notes), footer="joulebench report, format analysis")


def _items(group: GroupAnalysis) -> Iterator[Item]:
    mark = MARKS.get(group.provenance, group.provenance)
    yield Paragraph(f"energy: {group.provenance}; {', '.join(group.channels)}; {', '.join(group.methods)}")
    yield Paragraph(f"{group.prompts} prompts, {group.requests} requests; {group.resamples:,} resamples")
    yield from map(Paragraph, group.notes)
    yield Heading("Joules per response token")
    yield table(
        ("figure", f"J/token {mark}".strip()),
        (
            ("ratio of sums: ΣE / Σ response tokens", _figure(group.ratio_of_sums)),
            ("the same, allowing for prompts in a row that are alike", _figure(group.ratio_of_sums_in_order)),
            ("mean of the prompts' ratios", _figure(group.mean_of_ratios)),
            ("median of the prompts' ratios", _figure(group.median_of_ratios)),
        ),
    )
    shown = group.features[:_SHOWN_FEATURES]
    for heading, correlations in (
        ("What the energy goes with (Pearson's r)", group.correlations),
        (f"Features of the prompt: the strongest {len(shown)} of {len(group.features)}", shown),
    ):
        if correlations:
            yield Heading(heading)
            yield table(
                ("column", "r", "r among answers of equal length"),
                [_correlation(correlation) for correlation in correlations],
            )
    yield Heading("Models")
    models = (group.length_model, group.phase_model)
    yield table(("model", "term", "value"), [row for model in models for row in _model(model)])
    yield from _residuals(group)
    yield Heading("MELODI's findings here")
    yield _findings(group.findings)


def _findings(findings: Sequence[Finding]) -> NoteList:
    return NoteList(
        tuple(Note(finding.claim, f"{finding.verdict} – {finding.why}{_of(finding.figure)}") for finding in findings)
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


def _residuals(group: GroupAnalysis) -> Iterator[Item]:
    quantiles = group.phase_model.residual_quantiles_j
    if quantiles is not None:
        low, middle, high = (number(joules, 3) for joules in quantiles)
        yield Paragraph(
            f"residuals of {group.phase_model.formula}: 5 % below {low} J, median {middle} J, 5 % above {high} J"
        )
