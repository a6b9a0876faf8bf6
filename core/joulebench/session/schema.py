"""The Arrow schemas of a session, made from its tables' dataclasses.

``docs/session-format.md`` documents the same tables; a test compares the two.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import pyarrow as pa

from joulebench.session.tables import (
    CELL_ROWS,
    SCHEMA_MINOR,
    SCHEMA_VERSION,
    BlockRow,
    CellChecksum,
    CellRow,
    ChannelRow,
    ClockTriple,
    Doc,
    EnergyRow,
    EventRow,
    IdleRow,
    LegRow,
    ProbeRow,
    RequestRow,
    SampleRow,
    SessionRow,
    TableChecksum,
    TableRow,
    columns_of,
)

_SIMPLE: Final[dict[type, pa.DataType]] = {
    str: pa.string(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}
#: Repeated names (channels, origins) are stored once; see :mod:`joulebench.session.files`.
_REPEATED: Final = pa.dictionary(pa.int32(), pa.string())


def _kind(kind: type, doc: Doc) -> pa.DataType:
    if issubclass(kind, TableRow):
        return pa.struct(_fields(kind))
    if doc.repeated:
        return _REPEATED
    if kind is int:
        return pa.int32() if doc.bits == 32 else pa.int64()
    return _SIMPLE[kind]


def _fields(table: type) -> list[pa.Field]:
    fields: list[pa.Field] = []
    for own in columns_of(table):
        doc = own.doc
        kind = _kind(own.kind, doc)
        metadata = {"doc": doc.meaning} | ({"unit": doc.unit} if doc.unit else {})
        fields.append(pa.field(own.name, pa.list_(kind) if own.many else kind, metadata=metadata))
    return fields


#: Rows within rows, by the columns that hold them.
STRUCTS: Final[dict[str, pa.Schema]] = {
    "clock": pa.schema(_fields(ClockTriple)),
    "channel": pa.schema(_fields(ChannelRow)),
    "probe": pa.schema(_fields(ProbeRow)),
    "leg": pa.schema(_fields(LegRow)),
    "cell-checksum": pa.schema(_fields(CellChecksum)),
    "idle": pa.schema(_fields(IdleRow)),
    "table-checksum": pa.schema(_fields(TableChecksum)),
}

_TABLES: Final[tuple[type[TableRow], ...]] = (SessionRow, *CELL_ROWS.values())
_SCHEMAS: Final = {table: pa.schema(_fields(table)) for table in _TABLES}
SESSION: Final = _SCHEMAS[SessionRow]
CELL: Final = _SCHEMAS[CellRow]
BLOCKS: Final = _SCHEMAS[BlockRow]
ENERGY: Final = _SCHEMAS[EnergyRow]
REQUESTS: Final = _SCHEMAS[RequestRow]
SAMPLES: Final = _SCHEMAS[SampleRow]
EVENTS: Final = _SCHEMAS[EventRow]

#: Tables of a cell's folder by file stem.
CELL_TABLES: Final[dict[str, pa.Schema]] = {name: _SCHEMAS[table] for name, table in CELL_ROWS.items()}


def file_schema(table: type[TableRow]) -> pa.Schema:
    """The schema of a class of rows, as it is written to files."""
    return versioned(_SCHEMAS[table])


def versioned(schema: pa.Schema) -> pa.Schema:
    """The schema with the version in its metadata, as it is written to files."""
    return schema.with_metadata(
        {"joulebench_schema": str(SCHEMA_VERSION), "joulebench_schema_minor": str(SCHEMA_MINOR)}
    )
