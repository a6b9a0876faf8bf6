"""The columns of a table of cells: one list for CSV, JSON lines and the exported summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Literal

from joulebench.api import PROVENANCES
from joulebench_reports.notes.trust import flag_words, machine_line
from joulebench_reports.values.agreement import bounds_of
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary, EnergySummary, SessionSummary
from joulebench_reports.values.verdicts import Verdict, VerdictTable

Value = str | int | float | None
Kind = Literal["text", "integer", "number"]


@dataclass(frozen=True, slots=True)
class ReportedCell:
    """A cell with its session; ``table`` has its verdict, ``verdict`` is ``None`` for a baseline."""

    cell: CellSummary
    session: SessionSummary
    table: VerdictTable | None
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class CellColumn:
    """A column; ``unit`` is empty for texts and counts, 1 for ratios and shares."""

    name: str
    kind: Kind
    unit: str
    description: str
    value_of: Callable[[ReportedCell], Value]


def cell_rows(summary: SessionSummary) -> list[ReportedCell]:
    """A row for each cell of a session, or of several, in their order."""
    tables = {table.baseline_id: table for table in summary.verdicts}
    verdicts = {verdict.cell_id: (table, verdict) for table in summary.verdicts for verdict in table.verdicts}
    return [
        ReportedCell(cell, session, *verdicts.get(cell.id, (tables.get(cell.id), None)))
        for session in summary.parts or (summary,)
        for cell in session.cells
    ]


def values(row: ReportedCell) -> dict[str, Value]:
    """Every column's value of a row; unknown is ``None``."""
    return {column.name: column.value_of(row) for column in COLUMNS}


# -- makers of columns ----------------------------------------------------------------------------


def _cell(name: str, kind: Kind, unit: str, description: str, path: str | None = None) -> CellColumn:
    value = attrgetter(path or name)
    return CellColumn(name, kind, unit, description, lambda row: value(row.cell))


def _figure(
    name: str, unit: str, description: str, figure_of: Callable[[CellSummary], Figure | None]
) -> list[CellColumn]:
    """The value and the ends of its interval."""

    def part(attribute: str) -> Callable[[ReportedCell], Value]:
        return lambda row: None if (figure := figure_of(row.cell)) is None else getattr(figure, attribute)

    return [
        CellColumn(name, "number", unit, description, part("value")),
        CellColumn(f"{name}_low", "number", unit, f"{description}: lower end of the 95 % interval", part("low")),
        CellColumn(f"{name}_high", "number", unit, f"{description}: upper end of the 95 % interval", part("high")),
    ]


def _energies() -> Iterator[CellColumn]:
    parts = {
        "gross": "all energy of the domain",
        "gross_with_scale": "gross, with the sensor's scale in the interval",
        "net": "gross minus idle power",
        "attributed": "the worker's share by CPU time, an estimate",
        "mean_of_ratios": "gross, the mean of the blocks' ratios",
    }
    for provenance in PROVENANCES:

        def energy(cell: CellSummary, provenance: str = provenance) -> EnergySummary | None:
            return next((summary for summary in cell.energy if summary.provenance == provenance), None)

        for part, description in parts.items():

            def figure(cell: CellSummary, of: Any = energy, part: str = part) -> Figure | None:
                return None if (summary := of(cell)) is None else getattr(summary, part)

            text = f"{provenance} energy of a unit of work: {description}"
            yield from _figure(f"{provenance}_{part}_j_per_unit", "as in energy_unit", text, figure)

        def power(cell: CellSummary, of: Any = energy) -> Figure | None:
            return None if (summary := of(cell)) is None else summary.power_w

        yield from _figure(f"{provenance}_power_w", "W", f"{provenance} mean power", power)


def _agreement(name: str, kind: Kind, unit: str, description: str, attribute: str | None = None) -> CellColumn:
    value = attrgetter(attribute or name)
    return CellColumn(
        name, kind, unit, description, lambda row: None if row.cell.agreement is None else value(row.cell.agreement)
    )


def _agreement_ends(name: str, description: str) -> Iterator[CellColumn]:
    for place, end in enumerate(("low", "high")):

        def bound(row: ReportedCell, place: int = place) -> Value:
            return None if row.cell.agreement is None else bounds_of(row.cell.agreement, name)[place]

        unit = "nats/token" if "nats" in name else "1"
        side = "lower" if end == "low" else "upper"
        yield CellColumn(f"{name}_{end}", "number", unit, f"{description}: {side} end of the 95 % interval", bound)


def _baseline(row: ReportedCell) -> Value:
    return None if row.table is None else row.table.baseline


def _outcome(row: ReportedCell) -> Value:
    if row.table is None:
        return None
    return "baseline" if row.verdict is None else row.verdict.outcome


def _verdict_text(row: ReportedCell) -> Value:
    if row.table is None:
        return None
    return "the baseline" if row.verdict is None else row.verdict.text


def _energy_ratio(attribute: str) -> Callable[[ReportedCell], Value]:
    def value(row: ReportedCell) -> Value:
        comparison = None if row.verdict is None else row.verdict.comparison
        return None if comparison is None else getattr(comparison, attribute)

    return value


def _disagrees(row: ReportedCell) -> Value:
    agreement = row.cell.agreement
    return "; ".join(agreement.disagrees) if agreement is not None and agreement.held else None


_MEMORY: Final = {
    "rss_peak_bytes": "peak resident memory of the worker",
    "rss_base_bytes": "resident memory before the model was loaded",
    "rss_anon_bytes": "anonymous part of the resident memory",
    "rss_file_bytes": "part of the resident memory that maps files",
    "rss_model_bytes": "resident memory of the model's files",
    "pss_bytes": "proportional resident memory, shared pages by their share",
    "device_peak_bytes": "peak memory of the accelerator",
    "weights_bytes": "weights by the runtime's own account",
    "kv_allocated_bytes": "keys and values: allocated",
    "kv_used_bytes": "keys and values: used",
    "workspace_bytes": "workspace by the runtime's own account",
    "artifact_bytes": "size of the model's files",
}
_TOKEN: Final[dict[str, tuple[Kind, str, str]]] = {
    "weights_bytes": ("integer", "B", "weights that one token moves"),
    "kv_position_bytes": ("integer", "B", "keys and values of one position"),
    "operations": ("integer", "FLOP", "operations of one token in the matrices"),
    "head_operations": ("integer", "FLOP", "operations of the output head"),
    "decode_context": ("number", "token", "mean positions before a decoded token"),
    "prompt": ("number", "token", "mean tokens of a prefill"),
}
_TTFT: Final = "time to the first token"

COLUMNS: Final[tuple[CellColumn, ...]] = (
    _cell("id", "text", "", "the cell"),
    _cell("label", "text", "", "the cell's name in reports"),
    _cell("model", "text", "", "name of the model"),
    _cell("technique", "text", "", "steps of the compression; none: the unchanged model"),
    _cell("backend", "text", "", "runtime"),
    _cell("device", "text", "", "device within the backend"),
    _cell("workload", "text", "", "what the model does"),
    _cell("unit", "text", "", "the unit of work"),
    _cell("status", "text", "", "ok, failed, skipped, unfinished or not started"),
    _cell("cause", "text", "", "why it is not ok"),
    _cell("blocks", "integer", "", "blocks measured"),
    _cell("processes", "integer", "", "processes that measured the blocks"),
    _cell("energy_unit", "text", "", "unit of the energy columns", "headline.unit"),
    _cell("energy_provenance", "text", "", "most trusted provenance with a figure", "headline.provenance"),
    *_energies(),
    _cell("energy_reason_if_null", "text", "", "why there is no energy", "headline.reason_if_null"),
    *_figure("decode_tok_per_s", "tok/s", "rate of decoding", lambda cell: cell.speed.decode_tok_s),
    *_figure("prefill_tok_per_s", "tok/s", "rate of prefill", lambda cell: cell.speed.prefill_tok_s),
    _cell("ttft_median_s", "number", "s", f"{_TTFT}: median over requests", "speed.ttft_median_s.value"),
    _cell("ttft_p95_s", "number", "s", f"{_TTFT}: 95 % quantile over requests", "speed.ttft_p95_s.value"),
    *_figure("tpot_s", "s", "time per decoded token", lambda cell: cell.speed.tpot_s),
    _cell("work_rate_unit", "text", "", "unit of work_rate", "speed.units_s.unit"),
    *_figure("work_rate", "as in work_rate_unit", "units of work per second", lambda cell: cell.speed.units_s),
    *_figure("mbu", "1", "model bandwidth utilisation", lambda cell: cell.mbu),
    *_figure("mfu", "1", "model FLOPs utilisation", lambda cell: cell.mfu),
    *(_cell(f"token_{name}", *about, f"token.{name}") for name, about in _TOKEN.items()),
    *_figure("block_s", "s", "mean duration of a block", lambda cell: cell.speed.block_s),
    *(_cell(name, "integer", "B", about, f"memory.{name}") for name, about in _MEMORY.items()),
    _cell("perplexity", "number", "1", "perplexity of the text that was scored", "quality.perplexity"),
    _cell("nll_nats_per_token", "number", "nats/token", "its logarithm", "quality.nll_nats_per_token"),
    _agreement("agreement_reference", "text", "", "reference of the agreement check", "reference"),
    _agreement("agreement_reason", "text", "", "why nothing was compared with the reference", "reason"),
    _agreement("agreed_tokens", "integer", "token", "greedy tokens equal to the reference's"),
    _agreement("compared_tokens", "integer", "token", "greedy tokens compared"),
    _agreement("ties", "integer", "", "answers that first differ at a tie"),
    _agreement("top1_share", "number", "1", "positions with the same most likely token"),
    _agreement("kl_nats_mean", "number", "nats/token", "KL divergence from the reference, mean"),
    _agreement("kl_nats_max", "number", "nats/token", "KL divergence from the reference, largest"),
    _agreement("perplexity_ratio", "number", "1", "perplexity of the reference's answers over the reference's own"),
    _agreement("text_perplexity_ratio", "number", "1", "perplexity of the text over the reference's"),
    _agreement("cosine_mean", "number", "1", "cosine of embeddings with the reference's, mean over sentences"),
    _agreement("cosine_min", "number", "1", "cosine of embeddings with the reference's, smallest"),
    *_agreement_ends("agreed_share", "share of equal greedy tokens"),
    *_agreement_ends("top1_share", "positions with the same most likely token"),
    *_agreement_ends("kl_nats_mean", "mean KL divergence"),
    *_agreement_ends("perplexity_ratio", "perplexity ratio"),
    *_agreement_ends("text_perplexity_ratio", "perplexity ratio of the text"),
    CellColumn("disagrees", "text", "", "respects in which the cell disagrees; empty: none", _disagrees),
    _cell("temperature_max_c", "number", "degC", "highest temperature at the edges of blocks"),
    _cell("sampler_cpu_share", "number", "1", "the sampler's share of one core", "observer.cpu_share"),
    _cell("time_base", "text", "", "whose seconds: host, or a simulated device's"),
    _cell("simulation_s", "number", "s", "duration of the simulation on this machine"),
    CellColumn("flags", "text", "", "flags, with the number of blocks", lambda row: flag_words(row.cell)),
    CellColumn("verdict_baseline", "text", "", "the baseline of the verdict", _baseline),
    CellColumn("verdict", "text", "", "outcome of the comparison with the baseline", _outcome),
    CellColumn("verdict_text", "text", "", "the verdict in words", _verdict_text),
    CellColumn("verdict_energy_ratio", "number", "1", "energy over the baseline's", _energy_ratio("ratio")),
    CellColumn("verdict_energy_ratio_low", "number", "1", "lower end of its interval", _energy_ratio("low")),
    CellColumn("verdict_energy_ratio_high", "number", "1", "upper end of its interval", _energy_ratio("high")),
    CellColumn("session", "text", "", "the session", lambda row: row.session.session_id),
    CellColumn("session_status", "text", "", "complete, interrupted or running", lambda row: row.session.status),
    CellColumn("created_at", "text", "", "when the session began (ISO 8601)", lambda row: row.session.created_at),
    CellColumn("profile", "text", "", "name of the profile", lambda row: row.session.profile_name),
    CellColumn("protocol", "text", "", "published procedure that was followed", lambda row: row.session.protocol),
    CellColumn("machine", "text", "", "the machine in one line", lambda row: machine_line(row.session.machine)),
)
