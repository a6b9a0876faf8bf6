"""The renderers ``melodi`` and ``analysis``: their names and options. The rest is imported when they render."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from joulebench.api import PROVENANCES, Availability, Option, Renderer, Settings, require_modules

if TYPE_CHECKING:
    from joulebench.session import Session


class MelodiRenderer(Renderer):
    """One row per request. Energies are gross, of one provenance in the whole table."""

    name = "melodi"
    summary = "one row per request in the columns of a published MELODI table"
    suffix: ClassVar[str] = ".melodi.csv"
    options = (
        Option(
            "provenance",
            "str",
            None,
            "use only energies of this provenance; otherwise the most trusted one in the session",
            choices=PROVENANCES,
        ),
        Option(
            "type",
            "str",
            None,
            "the kind of device, such as laptop1 or server; otherwise what the session knows about the machine",
        ),
        Option(
            "extended",
            "bool",
            False,
            "add joulebench's own columns after the published ones: "
            "provenance, method and flags of the energy, cell, block, request",
        ),
    )

    def render(self, session: Session, settings: Settings) -> str:
        """The table; unknown is an empty field. What it cannot say goes to standard error."""
        from joulebench_reports.melodi.tablereport import request_table

        return request_table(session, settings)


class AnalysisRenderer(Renderer):
    """What the energy goes with, models of it, and which of MELODI's findings hold here."""

    name = "analysis"
    summary = "MELODI's analysis: what the energy goes with, and which findings hold here"
    options = (
        Option("form", "str", "text", "how it is written", choices=("text", "markdown", "html", "json")),
        Option("channel", "str", None, "analyse the energy of this channel instead of the total of each provenance"),
        Option("seed", "int", 0, "seed of the resampling", minimum=0),
    )
    suffix: ClassVar[str] = ""

    def available(self) -> Availability:
        """Needs numpy."""
        return require_modules(["numpy"], "melodi")

    def render(self, session: Session, settings: Settings) -> str:
        """The analysis; unknown is null in JSON and a dash with its reason elsewhere."""
        from joulebench_reports.melodi.analysisreport import analysis_text

        return analysis_text(session, settings)
