"""Pictures of a result: each is a :class:`Plot` that a notebook shows and that saves itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from joulebench.errors import JoulebenchError
from joulebench_reports.charts.answerparts import answer_charts
from joulebench_reports.charts.bars import energy_charts, rate_charts
from joulebench_reports.charts.drawing import png, standalone, svg
from joulebench_reports.charts.heat import heat_charts
from joulebench_reports.charts.phases import phase_charts
from joulebench_reports.charts.relative import relative_charts
from joulebench_reports.charts.scaling import scaling_charts
from joulebench_reports.charts.specification import Chart
from joulebench_reports.charts.template import Json
from joulebench_reports.charts.tradeoff import tradeoff_charts
from joulebench_reports.values.figures import SessionSummary


class Plot:
    """Charts of one subject; measured, estimated and simulated figures each have their own."""

    def __init__(self, charts: Sequence[Chart]) -> None:
        self.charts = tuple(charts)

    @property
    def specs(self) -> list[Json]:
        """Vega-Lite specifications, for Altair or any other reader of them."""
        return [standalone(chart) for chart in self.charts]

    def save(self, file: str | Path) -> list[Path]:
        """Write the picture as SVG or PNG by the file's suffix; of several charts a number is added.

        Returns the files. Needs joulebench[html].
        """
        target = Path(file)
        if target.suffix not in (".svg", ".png"):
            raise JoulebenchError(f"cannot draw '{target.suffix}' files", where=str(file), hint="valid: .svg, .png")
        files: list[Path] = []
        for number, chart in enumerate(self.charts, start=1):
            own = target if len(self.charts) == 1 else target.with_stem(f"{target.stem}-{number}")
            own.write_bytes(png(chart) if target.suffix == ".png" else svg(chart).encode())
            files.append(own)
        return files

    def _repr_html_(self) -> str:
        return "".join(f"<div>{svg(chart)}</div>" for chart in self.charts)

    def __repr__(self) -> str:
        return f"<joulebench plot: {'; '.join(chart.title for chart in self.charts)}>"


class Plots:
    """The pictures that there are. Each raises where no cell has what it shows."""

    def __init__(self, summary: SessionSummary) -> None:
        self._cells = summary.shown
        self._verdicts = summary.verdicts

    def energy(self) -> Plot:
        """Energy of a unit of work, the least first, with 95 % intervals."""
        return _plot("energy", energy_charts(self._cells))

    def relative(self) -> Plot:
        """Energy as a share of the baseline's, for each model and workload, with intervals that hold together."""
        return _plot("relative", [chart for table in self._verdicts for chart in relative_charts(table)])

    def speed(self) -> Plot:
        """Tokens a second of decoding and of prefill, the fastest first."""
        return _plot("speed", rate_charts(self._cells))

    def quality(self) -> Plot:
        """Perplexity against energy, with the Pareto front."""
        return _plot("quality", tradeoff_charts(self._cells))

    def heat(self) -> Plot:
        """Energy of technique by backend."""
        return _plot("heat", heat_charts(self._cells))

    def scaling(self) -> Plot:
        """Energy against a number of the profile, such as threads or context."""
        return _plot("scaling", scaling_charts(self._cells))

    def phases(self) -> Plot:
        """Where the energy of an answer goes, and what a token of each phase takes."""
        return _plot("phases", [*answer_charts(self._cells), *phase_charts(self._cells)])


def _plot(subject: str, charts: Sequence[Chart]) -> Plot:
    if not charts:
        raise JoulebenchError(f"no cells have what a picture of {subject} shows")
    return Plot(charts)


def picture(summary: SessionSummary, name: str, number: int) -> Chart:
    """One chart of a picture; ``number`` from 1 on says which of several."""
    charts: tuple[Chart, ...] = getattr(Plots(summary), name)().charts
    if number > len(charts):
        titles = "; ".join(chart.title for chart in charts)
        raise JoulebenchError(f"there is no picture {number} of {name}", hint=f"there are: {titles}")
    return charts[number - 1]
