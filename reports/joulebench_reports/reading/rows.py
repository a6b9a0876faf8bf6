"""Rows of a session's tables as plain values: whole columns are decoded once, then given to their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from joulebench.api import Provenance

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session


class StoredBlock(NamedTuple):
    """Of a row of blocks what figures are made of; names and units are the session's."""

    block: int
    process: int | None
    round: int | None
    t0_ns: int
    start_utc: datetime | None
    duration_s: float | None
    device_s: float | None
    units: float | None
    prefill_tokens: int | None
    decode_tokens: int | None
    requests: int | None
    temperature_start_c: float | None
    temperature_end_c: float | None
    worker_cpu_s: float | None
    flags: Sequence[str] | None


class StoredRequest(NamedTuple):
    """Of a row of requests what figures are made of."""

    block: int
    t0_ns: int | None
    t1_ns: int | None
    sequences: int | None
    prefill_tokens: int | None
    decode_tokens: int | None
    ttft_s: float | None
    prefill_s: float | None
    decode_s: float | None
    device_ttft_s: float | None
    device_prefill_s: float | None
    device_decode_s: float | None


class StoredEnergy(NamedTuple):
    """Of a row of energy what figures are made of."""

    block: int
    phase: str
    channel: str | None
    provenance: Provenance
    method: str | None
    counted: bool | None
    gross_j: float | None
    gross_u_j: float | None
    net_j: float | None
    net_u_j: float | None
    attributed_j: float | None
    gross_low_j: float | None
    gross_high_j: float | None
    flags: Sequence[str] | None


class StoredCell(NamedTuple):
    """The rows of a cell, and the further figures of its first request as JSON."""

    blocks: Sequence[StoredBlock] = ()
    requests: Sequence[StoredRequest] = ()
    energy: Sequence[StoredEnergy] = ()
    first_values: str | None = None


_Row = TypeVar("_Row", StoredBlock, StoredRequest, StoredEnergy)


def stored_cells(session: Session) -> Mapping[str, StoredCell]:
    """The rows of every cell that has a folder, by its id."""
    blocks = _by_cell(session.table("blocks", columns=_columns(StoredBlock)), StoredBlock)
    energy = _by_cell(session.table("energy", columns=_columns(StoredEnergy)), StoredEnergy)
    requested = session.table("requests", columns=(*_columns(StoredRequest), "values_json"))
    requests, values = _by_cell(requested, StoredRequest), _first_values(requested)
    return {
        cell_id: StoredCell(
            blocks.get(cell_id, ()), requests.get(cell_id, ()), energy.get(cell_id, ()), values.get(cell_id)
        )
        for cell_id in session.cell_ids
    }


def rows_of(table: pa.Table, kind: type[_Row]) -> list[_Row]:
    """The rows of a table."""
    from joulebench.session.files import column_values

    columns = (column_values(table.column(name)) for name in _names(kind))
    return list(map(kind._make, zip(*columns, strict=True)))


def _names(kind: type[NamedTuple]) -> tuple[str, ...]:
    return kind._fields


def _columns(kind: type[NamedTuple]) -> tuple[str, ...]:
    return ("cell_id", *_names(kind))


def _by_cell(table: pa.Table, kind: type[_Row]) -> dict[str, list[_Row]]:
    cells: dict[str, list[_Row]] = {}
    for cell_id, row in zip(table.column("cell_id").to_pylist(), rows_of(table, kind), strict=True):
        cells.setdefault(cell_id, []).append(row)
    return cells


def _first_values(requests: pa.Table) -> dict[str, str]:
    """The first text of each cell."""
    import pyarrow.compute as pc

    known = requests.filter(pc.is_valid(requests["values_json"]))
    places: dict[str, int] = {}
    for place, cell_id in enumerate(known["cell_id"].to_pylist()):
        places.setdefault(cell_id, place)
    return {cell_id: known["values_json"][place].as_py() for cell_id, place in places.items()}
