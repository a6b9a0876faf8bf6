"""A session's requests as rows of MELODI: who answered what, for how long, for how many joules."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from joulebench.api import Provenance, Scalar
from joulebench.session.tables import CellRow, RequestRow
from joulebench_reports.melodi.requestenergy import ChannelEnergy, request_energies

if TYPE_CHECKING:
    from joulebench.session import Session

#: Order of trust; one table or analysis holds one of them alone.
Part = Literal["cpu", "gpu"]
#: How the domains of the two parts begin.
_DOMAINS: Final[Mapping[Part, tuple[str, ...]]] = {"cpu": ("cpu", "package", "dram", "process-cpu"), "gpu": ("gpu",)}


@dataclass(frozen=True, slots=True)
class CellFacts:
    """The cell of a request. ``device`` is ``None`` where it is not known.

    ``configuration`` is equal for cells that differ in their workload alone. ``block_flags`` counts
    the blocks that carry a flag.
    """

    id: str
    label: str
    model: str
    technique: str
    backend: str
    device: str | None
    workload: str
    configuration: str
    faults: tuple[str, ...]
    blocks: int
    block_flags: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Joules:
    """An energy in J. ``gross_j`` is ``None`` for the reasons in ``flags``.

    ``fit_j`` is for fits and sums over many requests only. ``methods`` say how it came about.
    """

    gross_j: float | None
    fit_j: float | None
    flags: tuple[str, ...]
    methods: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeasuredRequest:
    """One prompt and its answer. Token counts and times are ``None`` where they are unknown."""

    cell: CellFacts
    block: int
    request: int
    prompt_index: int | None
    start: datetime | None
    end: datetime | None
    duration_s: float | None
    prefill_s: float | None
    decode_s: float | None
    prompt_tokens: int | None
    response_tokens: int | None
    prompt: str | None
    response: str | None
    values: Mapping[str, Scalar]
    energies: tuple[ChannelEnergy, ...]

    @property
    def provenances(self) -> frozenset[Provenance]:
        """Provenances of which this request has an energy."""
        return frozenset(energy.provenance for energy in self.energies if energy.counted and energy.fit_j is not None)

    def energy(self, provenance: Provenance, part: Part | None = None) -> Joules:
        """Sum over the counted channels of one provenance, or over those of a part."""
        starts = None if part is None else _DOMAINS[part]
        return _sum(
            [
                energy
                for energy in self.energies
                if energy.counted
                and energy.provenance == provenance
                and (starts is None or energy.domain.startswith(starts))
            ]
        )

    def of_channel(self, channel: str) -> Joules:
        """The energy by one channel alone, counted or not."""
        return _sum([energy for energy in self.energies if energy.channel == channel])


def _sum(channels: Sequence[ChannelEnergy]) -> Joules:
    if not channels:
        return Joules(None, None, ("no_counted_channel",))
    flags = tuple(dict.fromkeys(flag for channel in channels for flag in channel.flags))
    gross = [channel.gross_j for channel in channels if channel.gross_j is not None]
    fit = [channel.fit_j for channel in channels if channel.fit_j is not None]
    return Joules(
        math.fsum(gross) if len(gross) == len(channels) else None,
        math.fsum(fit) if len(fit) == len(channels) else None,
        flags,
        tuple(dict.fromkeys(channel.method for channel in channels)),
        tuple(channel.channel for channel in channels),
    )


def measured_requests(session: Session) -> Iterator[MeasuredRequest]:
    """Every request with a prompt or an answer, cell by cell in the order of the plan."""
    recorded = {row.cell_id: row for row in session.rows(CellRow)}
    for cell_id in session.cell_ids:
        cell = recorded.get(cell_id) or CellRow(cell_id=cell_id, status="unfinished")
        # Seconds and joules of this machine are the simulator's there, none of the answers'.
        if cell.time_base == "device":
            continue
        flags = session.table("blocks", cell_id)["flags"].to_pylist()
        facts = _facts(cell, flags)
        requests = session.rows(RequestRow, cell_id)
        energies = request_energies(session, cell_id, requests)
        for request in requests:
            if request.prefill_tokens or request.decode_tokens:
                yield _request(facts, request, energies[request.block, request.request])


def _facts(row: CellRow, block_flags: Sequence[Sequence[str] | None]) -> CellFacts:
    published = _object(row.facts_json).get("published")
    faults = published.get("faults", ()) if isinstance(published, dict) else ()
    return CellFacts(
        row.cell_id,
        row.label or row.cell_id,
        row.model or "unknown",
        row.technique or "none",
        row.backend or "unknown",
        row.device,
        row.workload or "unknown",
        _configuration(row),
        tuple(str(fault) for fault in faults),
        len(block_flags),
        Counter(flag for flags in block_flags for flag in flags or ()),
    )


def _configuration(row: CellRow) -> str:
    settings = _object(row.settings_json)
    if not settings:
        return row.cell_id
    parts = [row.model, row.technique, row.backend, row.device]
    rest = {name: value for name, value in settings.items() if name != "workload"}
    return json.dumps([*parts, rest], sort_keys=True)


def _object(text: str | None) -> Mapping[str, Any]:
    """A JSON column that may be null or, in a damaged record, no object."""
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _request(cell: CellFacts, row: RequestRow, energies: tuple[ChannelEnergy, ...]) -> MeasuredRequest:
    values = _object(row.values_json)
    return MeasuredRequest(
        cell,
        row.block,
        row.request,
        row.prompt_index,
        row.start_utc,
        row.end_utc,
        row.duration_s,
        row.prefill_s,
        row.decode_s,
        row.prefill_tokens,
        _response_tokens(row, values),
        row.prompt,
        row.response,
        values,
        energies,
    )


def _response_tokens(row: RequestRow, values: Mapping[str, Scalar]) -> int | None:
    """Tokens of the answer: the first, which ends the prefill, and those after it.

    ``None`` for work that writes no answer: it marks no phase.
    """
    published = values.get("response_token_length")
    if isinstance(published, int):
        return published
    if row.output_tokens:
        return len(row.output_tokens)
    if row.decode_tokens is None or (row.prefill_s is None and row.decode_s is None):
        return None
    return row.decode_tokens + 1
