"""A session as one side of a comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from joulebench.api import Provenance, Scalar
from joulebench.errors import JoulebenchError
from joulebench.meter.comparison import CellBlocks
from joulebench.meter.uncertainty import interval_around
from joulebench_reports.compare.side import Estimate, Facts, Side, SideCell
from joulebench_reports.reading.cellrows import rows_by_cell
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.units import shown_unit

if TYPE_CHECKING:
    from joulebench.session import Session
    from joulebench.session.tables import CellRow

#: State of the machine that is never the same twice, and says nothing by being different.
_RESTLESS: Final = ("load_1min", "memory_available_bytes", "swap_free_bytes")


def side_of(session: Session) -> Side:
    """The session's figures and what they were measured with."""
    from joulebench_reports.summary.session import summarise

    summary = summarise(session)
    rows = rows_by_cell(session)
    shown = {cell.id for cell in summary.shown}
    state = flat(summary.preflight)
    return Side(
        session_id=summary.session_id,
        created_at=summary.created_at,
        status=summary.status,
        profile_name=summary.profile_name,
        machine=flat(summary.machine),
        state={name: state[name] for name in state if name not in _RESTLESS},
        protocol=_protocol(session),
        versions={**flat(summary.versions), "joulebench": summary.joulebench_version},
        cells=tuple(_cell(cell, rows[cell.id], is_shown=cell.id in shown) for cell in summary.cells),
    )


def flat(value: object) -> dict[str, Scalar | None]:
    """A record flattened to scalars; a list becomes its JSON text."""
    facts: dict[str, Scalar | None] = {}

    def walk(path: str, inner: object) -> None:
        if isinstance(inner, Mapping):
            for name, item in inner.items():
                walk(f"{path}.{name}" if path else str(name), item)
        elif inner is None or isinstance(inner, (str, int, float)):
            facts[path] = inner
        else:
            facts[path] = json.dumps(inner, sort_keys=True, default=str)

    walk("", value)
    return facts


def _protocol(session: Session) -> Facts | None:
    """The protocol's numbers as the run recorded them.

    An older session has its profile alone: then with the defaults of this version.
    """
    from joulebench.profile.reading import parse_profile

    recorded = session.json("protocol_json")
    if isinstance(recorded, dict):
        facts = {**flat(recorded.get("protocol")), "preset": recorded.get("preset")}
        return {name: value for name, value in facts.items() if name != "seed"}
    text = session.row.profile_text
    if not text:
        return None
    try:
        profile = parse_profile(text, "profile", Path(), session.row.overrides or ())
    except JoulebenchError:
        return None
    return {name: value for name, value in profile.measurement.numbers().items() if name != "seed"}


def _cell(cell: CellSummary, row: CellRow, *, is_shown: bool) -> SideCell:
    identity: dict[str, Scalar | None] = {
        "model": cell.model,
        "technique": cell.technique,
        "backend": cell.backend,
        "device": cell.device,
        "workload": cell.workload,
        "unit": row.unit,
        **flat(_settings(row)),
    }
    estimates: tuple[Estimate, ...] = ()
    if is_shown:
        estimates = (*_energies(cell), *_times(cell, row.unit or cell.unit), *_single(cell))
    return SideCell(
        label=cell.label,
        identity=identity,
        status=cell.status,
        cause=cell.cause,
        artifact_hash=row.artifact_hash,
        facts={**cell.facts, "model_source": row.model_source},
        estimates=estimates,
        absent=_absent(cell, estimates),
    )


def _settings(row: CellRow) -> object:
    try:
        return json.loads(row.settings_json or "{}")
    except ValueError:
        return {}


def _energies(cell: CellSummary) -> list[Estimate]:
    estimates: list[Estimate] = []
    for summary in cell.energy:
        basis = ", ".join([*summary.channels, *summary.methods, *summary.notes])
        estimate = _of_blocks(
            "energy",
            summary.gross.unit,
            cell.series.energy(summary.provenance),
            provenance=summary.provenance,
            basis=basis,
            scale_u=summary.scale_relative_uncertainty,
        )
        estimates += [] if estimate is None else [estimate]
    return estimates


def _times(cell: CellSummary, unit_of_work: str) -> list[Estimate]:
    """The rate (of decoding, where there is such a phase), the median TTFT and the TPOT."""
    series = cell.series
    decoding = series.ratio(lambda b: b.decode_tokens or None, lambda b: b.decode_s)
    if decoding is not None:
        rate = _of_blocks("rate", "tok/s", decoding)
    else:
        unit = shown_unit(unit_of_work)
        working = series.ratio(lambda b: b.units, lambda b: b.duration_s)
        # The blocks' work is in ``per`` units of it.
        rate = _of_blocks("rate", unit.rate, working, factor=unit.per / unit.rate_per)
    estimates = [
        rate,
        _first_token(cell),
        _of_blocks("tpot", "s", series.ratio(lambda b: b.decode_s, lambda b: b.decode_steps)),
    ]
    return [estimate for estimate in estimates if estimate is not None]


def _first_token(cell: CellSummary) -> Estimate | None:
    """The median TTFT over requests, as reports have it, with the spread of the blocks' medians."""
    median = cell.speed.ttft_median_s.value
    estimate = _of_blocks("ttft", "s", cell.series.ratio(lambda b: b.ttft_s, lambda _: 1.0))
    if estimate is None or not median:
        return None
    shift = median / estimate.value
    low, high = (None if end is None else end * shift for end in (estimate.low, estimate.high))
    return replace(estimate, value=median, low=low, high=high)


def _of_blocks(
    metric: str,
    unit: str,
    blocks: CellBlocks | None,
    *,
    factor: float = 1.0,
    provenance: Provenance | None = None,
    basis: str = "",
    scale_u: float | None = None,
) -> Estimate | None:
    mean = None if blocks is None else blocks.log_mean
    if mean is None:
        return None
    log = mean.log + math.log(factor)
    low = high = None
    if mean.u is not None and mean.df is not None:
        interval = interval_around(log, mean.u, mean.df, n=mean.n)
        low = None if interval.low is None else math.exp(interval.low)
        high = None if interval.high is None else math.exp(interval.high)
    return Estimate(
        metric, unit, math.exp(log), mean.u, mean.df, mean.n, mean.processes, low, high, provenance, basis, scale_u
    )


def _single(cell: CellSummary) -> list[Estimate]:
    estimates: list[Estimate] = []
    peak = cell.memory.rss_peak_bytes
    if peak:
        estimates.append(Estimate("memory", "B", float(peak)))
    quality = cell.quality
    if quality.perplexity is not None and quality.perplexity > 0:
        basis = f"{quality.text or 'unnamed text'}, {quality.tokens} tokens"
        estimates.append(Estimate("perplexity", "1", quality.perplexity, basis=basis))
    return estimates


def _absent(cell: CellSummary, estimates: tuple[Estimate, ...]) -> dict[str, str]:
    present = {estimate.metric for estimate in estimates}
    reasons = {
        "energy": cell.headline.reason_if_null,
        "rate": cell.rate.reason_if_null,
        "ttft": cell.speed.ttft_median_s.reason_if_null,
        "tpot": cell.speed.tpot_s.reason_if_null,
        "memory": "no reading of the worker's memory",
        "perplexity": "perplexity was not measured in this session",
    }
    return {name: why or "unknown" for name, why in reasons.items() if name not in present}
