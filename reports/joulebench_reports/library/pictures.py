"""Renderers of single pictures: a chart, and a card with the answer for a wiki."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Availability, Option, Renderer, Settings, require_modules
from joulebench.errors import JoulebenchError
from joulebench_reports.values.verdicts import BASELINE, baseline_of

if TYPE_CHECKING:
    from joulebench.session import Session

#: The pictures of :class:`~.plots.Plots`, by the names of its methods.
PICTURES: Final = ("energy", "speed", "quality", "heat", "scaling", "phases")
_PNG: Final = Option("png", "bool", False, "PNG instead of SVG")


class ChartRenderer(Renderer):
    """One of the pictures of :class:`~.plots.Plots`."""

    name = "chart"
    summary = "one picture as SVG or PNG"
    suffix: ClassVar[str] = ".svg"
    options = (
        Option("chart", "str", "energy", "which picture", choices=PICTURES),
        Option("number", "int", 1, "which of several: each unit and provenance has its own", minimum=1),
        _PNG,
    )

    def available(self) -> Availability:
        """Where a library draws pictures."""
        return require_modules(["vl_convert"], "html")

    def render(self, session: Session, settings: Settings) -> str | bytes:
        """The picture."""
        return self.render_many([session], settings)

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str | bytes:
        """The picture of the cells of all sessions."""
        from joulebench_reports.charts.drawing import png, svg
        from joulebench_reports.library.plots import Plots
        from joulebench_reports.summary.joining import summary_of

        summary, _ = summary_of(sessions)
        name = str(settings.get("chart", PICTURES[0]))
        charts = getattr(Plots(summary.shown), name)().charts
        number = int(settings.get("number", 1))
        if number > len(charts):
            titles = "; ".join(chart.title for chart in charts)
            raise JoulebenchError(f"there is no picture {number} of {name}", hint=f"there are: {titles}")
        chart = charts[number - 1]
        return png(chart) if settings.get("png") else svg(chart)


class CardRenderer(Renderer):
    """The answer in a picture."""

    name = "card"
    summary = "the answer as a picture (SVG or PNG) for a wiki"
    suffix: ClassVar[str] = ".svg"
    options = (_PNG, BASELINE)

    def available(self) -> Availability:
        """Always as SVG."""
        return Availability.yes()

    def render(self, session: Session, settings: Settings) -> str | bytes:
        """The card."""
        return self.render_many([session], settings)

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str | bytes:
        """The card of several sessions."""
        from joulebench_reports.charts.drawing import png_of_svg
        from joulebench_reports.library.card import card_svg
        from joulebench_reports.summary.joining import summary_of

        summary, _ = summary_of(sessions, baseline_of(settings))
        picture = card_svg(summary)
        return png_of_svg(picture) if settings.get("png") else picture
