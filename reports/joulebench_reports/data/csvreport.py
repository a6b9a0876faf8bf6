"""CSV: one row per cell, units in the columns' names, one set of columns per provenance."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from joulebench.api import Renderer, Settings
from joulebench_reports.data.verdicts import NOT_JUDGED, Judged, judged
from joulebench_reports.notes.trust import flag_words, machine_line
from joulebench_reports.summary.joining import join
from joulebench_reports.values.agreement import csv_columns
from joulebench_reports.values.figures import PROVENANCES, CellSummary, Figure, SessionSummary
from joulebench_reports.values.verdicts import BASELINE, baseline_of
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from joulebench.session.files import Session

Value = str | int | float | None

#: First characters that spreadsheets take for a formula (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@")


class CsvRenderer(Renderer):
    """One row per cell."""

    name = "csv"
    summary = "one row per cell, units in the names"
    suffix: ClassVar[str] = ".csv"
    options = (BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """The table; unknown is an empty field."""
        from joulebench_reports.summary.session import summarise

        return _table(summarise(session, baseline_of(settings)))

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """One table of the cells of several sessions."""
        return _table(join(sessions, baseline_of(settings))[0])


def _table(summary: SessionSummary) -> str:
    rows = [dict(row) for row in cell_rows(summary)]
    names = list(rows[0]) if rows else [name for name, _ in _columns(_no_cell())]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _safe(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def cell_rows(summary: SessionSummary) -> Iterator[Iterator[tuple[str, Value]]]:
    """The columns of each cell, in their order."""
    verdicts = judged(summary)
    for part in summary.parts or (summary,):
        for cell in part.cells:
            yield _columns(cell, verdicts.get(cell.id, NOT_JUDGED), part)


def _safe(value: Value) -> Value:
    """Text that no spreadsheet runs as a formula."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _no_cell() -> CellSummary:
    from joulebench_reports.summary.session import empty_cell

    return empty_cell("none")


def _columns(
    cell: CellSummary, verdict: Judged = NOT_JUDGED, session: SessionSummary | None = None
) -> Iterator[tuple[str, Value]]:
    for name in [
        "id",
        "label",
        "model",
        "technique",
        "backend",
        "device",
        "workload",
        "unit",
        "status",
        "cause",
        "blocks",
        "processes",
    ]:
        yield name, getattr(cell, name)
    yield "energy_unit", cell.headline.unit
    yield "energy_provenance", cell.headline.provenance
    by_provenance = {each.provenance: each for each in cell.energy}
    for provenance in PROVENANCES:
        energy = by_provenance.get(provenance)
        for part in ("gross", "gross_with_scale", "net", "attributed", "mean_of_ratios"):
            figure: Figure | None = None if energy is None else getattr(energy, part)
            yield from _figure(f"{provenance}_{part}_j_per_unit", figure)
        yield from _figure(f"{provenance}_power_w", None if energy is None else energy.power_w)
    yield "energy_reason_if_null", cell.headline.reason_if_null
    speed = cell.speed
    yield from _figure("decode_tok_per_s", speed.decode_tok_s)
    yield from _figure("prefill_tok_per_s", speed.prefill_tok_s)
    yield "ttft_median_s", speed.ttft_median_s.value
    yield "ttft_p95_s", speed.ttft_p95_s.value
    yield from _figure("tpot_s", speed.tpot_s)
    yield "work_rate_unit", speed.units_s.unit
    yield from _figure("work_rate", speed.units_s)
    yield from _figure("mbu", cell.mbu)
    yield from _figure("mfu", cell.mfu)
    for name in cell.token.__dataclass_fields__:
        yield f"token_{name}", getattr(cell.token, name)
    yield from _figure("block_s", speed.block_s)
    for name in cell.memory.__dataclass_fields__:
        yield name, getattr(cell.memory, name)
    yield "perplexity", cell.quality.perplexity
    yield "nll_nats_per_token", cell.quality.nll_nats_per_token
    yield from csv_columns(cell.agreement)
    yield "temperature_max_c", cell.temperature_max_c
    yield "sampler_cpu_share", cell.observer.cpu_share
    yield "time_base", cell.time_base
    yield "simulation_s", cell.simulation_s
    yield "flags", flag_words(cell)
    yield "verdict_baseline", verdict.baseline
    yield "verdict", verdict.verdict
    yield "verdict_text", verdict.text
    yield "verdict_energy_ratio", verdict.ratio
    yield "verdict_energy_ratio_low", verdict.low
    yield "verdict_energy_ratio_high", verdict.high
    yield "session", None if session is None else session.session_id
    yield "protocol", None if session is None else session.protocol
    yield "machine", None if session is None else machine_line(session.machine)


def _figure(name: str, figure: Figure | None) -> Iterator[tuple[str, Value]]:
    yield name, None if figure is None else figure.value
    yield f"{name}_low", None if figure is None else figure.low
    yield f"{name}_high", None if figure is None else figure.high
