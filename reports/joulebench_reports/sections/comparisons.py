"""Pictures that set cells side by side: energy and speed, quality against cost."""

from __future__ import annotations

from collections.abc import Iterator

from joulebench_reports.charts.answerparts import answer_charts
from joulebench_reports.charts.bars import comparison_charts
from joulebench_reports.charts.heat import heat_charts
from joulebench_reports.charts.phases import phase_charts
from joulebench_reports.charts.scaling import scaling_charts
from joulebench_reports.charts.sessions import session_charts
from joulebench_reports.charts.tradeoff import NOTE, tradeoff_charts
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Item, Paragraph, Section


def charts_section(material: Material) -> Iterator[Section]:
    """Sessions side by side, energy for a unit of work, speed, what energy goes with, energy by phase."""
    cells = material.summary.shown
    if cells:
        charts: list[Item] = [
            *session_charts(material.summary.parts),
            *comparison_charts(cells),
            *heat_charts(cells),
            *scaling_charts(cells),
            *answer_charts(cells),
            *phase_charts(cells),
        ]
        nothing = Paragraph("No cell has a figure to draw.")
        yield Section("charts", "Energy and speed", tuple(charts or [nothing]), "Charts")


def tradeoff_section(material: Material) -> Iterator[Section]:
    """Perplexity against energy."""
    charts = tradeoff_charts(material.summary.shown)
    if charts:
        yield Section("quality", "Quality against cost", (Paragraph(NOTE), *charts), "Quality")
