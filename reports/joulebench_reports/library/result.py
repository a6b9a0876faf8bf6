"""Sessions as a value in Python: figures as a frame, the answer, comparisons and pictures."""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from joulebench.errors import JoulebenchError, UnavailableError, unknown_name_hint
from joulebench_reports.data.longform import figure_table
from joulebench_reports.judging.advice import AIMS, Aim, RankedCell, advise
from joulebench_reports.judging.constraints import parse_constraint
from joulebench_reports.judging.ratios import decode_time
from joulebench_reports.judging.verdicts import energy_comparison
from joulebench_reports.judging.workgroups import SessionWork
from joulebench_reports.library.plots import Plots
from joulebench_reports.summary.joining import Sources, summary_of
from joulebench_reports.values.answers import Answer
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.values.options import DEFAULT_MAX_LOSS
from joulebench_reports.values.verdicts import Verdict
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session

FrameLibrary = Literal["pandas", "polars"]
_FRAMES: Final[tuple[FrameLibrary, ...]] = ("pandas", "polars")


class Result:
    """What one session, or several, have found. Nothing is computed before it is asked for.

    ``repr`` is the answer in words; a notebook shows the table of cells.
    """

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = tuple(sessions)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions themselves, whose tables :mod:`joulebench.session` reads."""
        return self._sessions

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where they lie."""
        return tuple(Path(session.path) for session in self._sessions)

    @property
    def summary(self) -> SessionSummary:
        """Every figure of every report."""
        return self._read[0]

    @functools.cached_property
    def _read(self) -> tuple[SessionSummary, Sources]:
        return summary_of(self._sessions)

    @property
    def cells(self) -> tuple[CellSummary, ...]:
        """The cells that have figures."""
        return self.summary.shown

    @property
    def answers(self) -> tuple[Answer, ...]:
        """What is best for each model and workload, and how far to trust that."""
        return tuple(answer for part in self.summary.parts or (self.summary,) for answer in part.answers)

    def table(self) -> pa.Table:
        """Every known figure in long form as an Arrow table.

        Columns: session, cell_id, cell, model, technique, backend, workload, metric, value, low,
        high (the 95 % interval), unit, provenance.
        """
        return figure_table(self.summary)

    def frame(self, library: FrameLibrary | None = None) -> Any:
        """:meth:`table` as a data frame: of pandas where it is installed, else of polars.

        Raises :class:`~joulebench.errors.UnavailableError` where neither is, or not the one that
        is named.
        """
        for name in (library,) if library is not None else _FRAMES:
            if name not in _FRAMES:
                raise JoulebenchError(f"no data frames of '{name}'", hint=f"valid: {', '.join(_FRAMES)}")
            try:
                return self.table().to_pandas() if name == "pandas" else _polars_frame(self.table())
            except ImportError:
                continue
        missing = library or " or ".join(_FRAMES)
        raise UnavailableError(f"frames need {missing}", hint=f"pip install {library or _FRAMES[0]}, or use .table()")

    def best(
        self,
        goal: Aim = "energy",
        *,
        max_loss: float | None = DEFAULT_MAX_LOSS,
        limits: Sequence[str] = (),
        model: str | None = None,
        workload: str | None = None,
    ) -> RankedCell | None:
        """The cell to deploy on its machine, as ``joulebench advise`` says it; ``None``: undecided.

        ``max_loss`` is the largest growth of perplexity (0.05: 5 %, ``None``: any), ``limits`` are
        texts such as ``"peak_memory<500MB"``. Where a session has several models or workloads,
        name one. Raises :class:`~joulebench.errors.JoulebenchError` for a name that is not there.
        """
        if goal not in AIMS:
            raise JoulebenchError(f"no goal '{goal}'", hint=f"valid: {', '.join(AIMS)}")
        session = self._one_session("best")
        advice = advise(
            SessionWork.of(session), self.cells, goal, [parse_constraint(text) for text in limits], max_loss, ()
        )
        for name, value, known in (
            ("model", model, {advised.model for advised in advice}),
            ("workload", workload, {advised.workload for advised in advice}),
        ):
            if value is not None and value not in known:
                raise JoulebenchError(f"no {name} '{value}' has figures", hint=unknown_name_hint(value, known))
        chosen = [one for one in advice if model in (None, one.model) and workload in (None, one.workload)]
        if len(chosen) > 1:
            names = ", ".join(f"{one.model}/{one.workload}" for one in chosen)
            raise JoulebenchError(f"several models or workloads have figures: {names}", hint="name model and workload")
        return chosen[0].best if chosen else None

    def compare(self, cell: str, baseline: str, metric: Literal["energy", "time"] = "energy") -> Verdict:
        """One cell's energy (or time) a unit of work against another's, by label or id."""
        session = self._one_session("compare")
        pair = self._cell(cell), self._cell(baseline)
        ratios = SessionWork.of(session).ratios
        if metric == "time":
            return Verdict(pair[0].id, pair[0].label, None, ratios.of(*pair, decode_time, pair))
        return Verdict(pair[0].id, pair[0].label, *energy_comparison(ratios, *pair, pair))

    @functools.cached_property
    def plot(self) -> Plots:
        """Pictures: ``plot.energy()``, ``plot.speed()``, ``plot.quality()``, ``plot.phases()``."""
        return Plots(self.summary)

    def report(self, form: str = "html", file: str | Path | None = None) -> str | bytes:
        """A report in any installed format (html, markdown, json, …); written to ``file`` if named."""
        from joulebench.registry.loading import default_registry

        renderer = default_registry().renderer(form)
        settings = renderer.default_settings()
        many = len(self._sessions) > 1
        content = (
            renderer.render_many(self._sessions, settings) if many else renderer.render(self._sessions[0], settings)
        )
        if file is not None:
            Path(file).write_bytes(content.encode() if isinstance(content, str) else content)
        return content

    def _one_session(self, what: str) -> Session:
        if len(self._sessions) != 1:
            raise JoulebenchError(f"{what} is of one session, not of {len(self._sessions)}", hint="load one")
        return self._sessions[0]

    def _cell(self, name: str) -> CellSummary:
        for cell in self.cells:
            if name in (cell.label, cell.id):
                return cell
        hint = unknown_name_hint(name, [cell.label for cell in self.cells])
        raise JoulebenchError(f"no cell with figures is named '{name}'", hint=hint)

    def __repr__(self) -> str:
        from joulebench_reports.sections.contents import answer_of
        from joulebench_reports.sections.material import Material
        from joulebench_reports.text.terminal import sections_text

        names = ", ".join(path.name for path in self.paths)
        text = sections_text(answer_of(Material(self.summary)), 100)
        return f"<joulebench result of {plain(names)}: {len(self.cells)} cells with figures>\n{text}".rstrip()

    def _repr_html_(self) -> str:
        from joulebench_reports.html.elements import SectionElements
        from joulebench_reports.html.markup import render
        from joulebench_reports.sections.contents import answer_of
        from joulebench_reports.sections.material import Material
        from joulebench_reports.sections.overview import overview_table
        from joulebench_reports.sections.report import Section

        sections = list(answer_of(Material(self.summary)))
        if self.cells:
            table = overview_table(self.cells)
            plain_table = type(table)(table.columns, table.rows)
            sections.append(Section("overview", "Cells", (plain_table,), "Cells"))
        names = html.escape(", ".join(plain(path.name) for path in self.paths))
        return f"<p>{names}</p>" + "".join(
            render(SectionElements(section, drawn=False).element) for section in sections
        )


def _polars_frame(table: pa.Table) -> Any:
    import polars

    return polars.from_arrow(table)
