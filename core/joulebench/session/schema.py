"""The Arrow schemas of a session, made from its tables' dataclasses.

``docs/session-format.md`` documents the same tables; a test compares the two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import pyarrow as pa

from joulebench.session.tables import (
    CELL_ROWS,
    BlockRow,
    CellRow,
    ChannelRow,
    ClockTriple,
    Column,
    EnergyRow,
    EventRow,
    IdleRow,
    ProbeRow,
    RequestRow,
    SampleRow,
    SessionRow,
    TableRow,
    columns_of,
)

#: Raised when a reader of the old schema would misread the new one.
SCHEMA_VERSION: Final = 1
#: Raised with columns that an older reader may leave alone. 1.1: cells whose hardware is simulated
#: (``time_base``, ``device_…``, ``gross_low_j``, ``gross_high_j``). 1.2: ``stolen_cpu_s``. 1.3: legs
#: of a resumed run and checksums.
SCHEMA_MINOR: Final = 3
#: The first minor version whose files have checksums.
FIRST_SEALED_MINOR: Final = 3
#: Key in the metadata of a table of one row: SHA-256 over the row.
ROW_DIGEST: Final = b"joulebench_row_sha256"

_SIMPLE: Final[dict[type, pa.DataType]] = {
    str: pa.string(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}
#: Repeated names (channels, origins) are stored once; see :mod:`joulebench.session.files`.
_REPEATED: Final = pa.dictionary(pa.int32(), pa.string())


def _kind(kind: type, column: Column) -> pa.DataType:
    if issubclass(kind, TableRow):
        return pa.struct(_fields(kind))
    if column.repeated:
        return _REPEATED
    if kind is int:
        return pa.int32() if column.bits == 32 else pa.int64()
    return _SIMPLE[kind]


def _fields(table: type) -> list[pa.Field]:
    fields: list[pa.Field] = []
    for own in columns_of(table):
        column = own.column
        kind = _kind(own.kind, column)
        metadata = {"doc": column.doc} | ({"unit": column.unit} if column.unit else {})
        fields.append(pa.field(own.name, pa.list_(kind) if own.many else kind, metadata=metadata))
    return fields


def schema_of(table: type[TableRow]) -> pa.Schema:
    """The Arrow schema of a class of rows."""
    return pa.schema(_fields(table))


CLOCK: Final = pa.struct(_fields(ClockTriple))
CHANNEL: Final = pa.struct(_fields(ChannelRow))
PROBE: Final = pa.struct(_fields(ProbeRow))
IDLE: Final = pa.struct(_fields(IdleRow))

SESSION: Final = schema_of(SessionRow)
CELL: Final = schema_of(CellRow)
BLOCKS: Final = schema_of(BlockRow)
ENERGY: Final = schema_of(EnergyRow)
REQUESTS: Final = schema_of(RequestRow)
SAMPLES: Final = schema_of(SampleRow)
EVENTS: Final = schema_of(EventRow)

#: Tables of a cell's folder by file stem.
CELL_TABLES: Final[dict[str, pa.Schema]] = {name: schema_of(table) for name, table in CELL_ROWS.items()}


def versioned(schema: pa.Schema) -> pa.Schema:
    """The schema with the version in its metadata, as it is written to files."""
    return schema.with_metadata(
        {"joulebench_schema": str(SCHEMA_VERSION), "joulebench_schema_minor": str(SCHEMA_MINOR)}
    )
