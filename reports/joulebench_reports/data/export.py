"""A session's tables as Parquet or CSV files, one file a table, units in the files' metadata.

Every row names its session and cell, so that files of several sessions can be put together. Tables
are passed on in Arrow batches: the largest, of readings, is never whole in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from joulebench.errors import SessionError
from joulebench_reports.data.columns import COLUMNS, cell_rows, values
from joulebench_reports.data.datapackage import as_csv, data_package, writable_schema
from joulebench_reports.data.longform import figure_table
from joulebench_reports.values.figures import SessionSummary

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session

Form = Literal["parquet", "csv"]
#: Files by name; ``summary`` has the figures of the reports, a row for each cell, ``figures`` the same
#: in long form: a row for each cell and metric.
TABLES: Final = ("summary", "figures", "session", "cells", "blocks", "energy", "requests", "samples", "events")
#: The table of a session behind a file, where it is called otherwise.
_BEHIND: Final = {"cells": "cell"}


def export(
    sessions: Sequence[Session], summary: SessionSummary, folder: Path, form: Form, tables: Sequence[str] = TABLES
) -> list[Path]:
    """Write the tables; returns the files. Raises where one of them is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.{form}" for name in tables}
    described = [folder / "datapackage.json"] if form == "csv" else []
    for file in (*files.values(), *described):
        if file.exists() or file.is_symlink():
            raise SessionError("already exists", where=str(file), hint="give another --output, or remove it")
    schemas: dict[str, pa.Schema] = {}
    for name, file in files.items():
        batches = _batches(name, sessions, summary)
        schemas[name] = _write(file, name, next(batches).schema, batches, form)
    if described:
        text = json.dumps(data_package(schemas), indent=2, ensure_ascii=False) + "\n"
        described[0].write_text(text, encoding="utf-8")
    return [*files.values(), *described]


# -- content ------------------------------------------------------------------------------------


def _batches(name: str, sessions: Sequence[Session], summary: SessionSummary) -> Iterator[pa.Table]:
    """The content of a file in pieces, the first of them empty, for its schema."""
    if name in ("summary", "figures"):
        table = summary_table(summary) if name == "summary" else figure_table(summary)
        yield table.schema.empty_table()
        yield table
        return
    yield _schema_of(name).empty_table()
    for session in sessions:
        identifier = session.row.session_id or session.path.name
        if name == "session":
            yield _session_table(session, identifier)
            continue
        behind = _BEHIND.get(name, name)
        for cell_id in session.cell_ids:
            for piece in _pieces(session, behind, cell_id):
                yield _marked(piece, identifier, cell_id, _schema_of(name))


def _pieces(session: Session, table: str, cell_id: str) -> Iterator[pa.Table]:
    import pyarrow as pa

    if table != "samples":
        yield session.table(table, cell_id)
        return
    for batch in session.scan(table, cell_id, _own_schema(table).names):
        yield pa.Table.from_batches([batch])


def _own_schema(table: str) -> pa.Schema:
    from joulebench.session.schema import CELL_TABLES

    return CELL_TABLES[table]


def _schema_of(name: str) -> pa.Schema:
    """The session's own schema with the columns that say where a row comes from in front."""
    import pyarrow as pa

    from joulebench.session.schema import SESSION

    if name == "session":
        return SESSION
    own = _own_schema(_BEHIND.get(name, name))
    text = pa.dictionary(pa.int32(), pa.string())
    front = [pa.field("session", text, metadata={"doc": "the session"})]
    if "cell_id" not in own.names:
        front.append(pa.field("cell_id", text, metadata={"doc": "the cell"}))
    return pa.schema([*front, *own])


def _session_table(session: Session, identifier: str) -> pa.Table:
    from joulebench.session.conversion import table_of
    from joulebench.session.tables import SessionRow

    return table_of([replace(session.row, session_id=identifier)], SessionRow).replace_schema_metadata()


def _marked(table: pa.Table, session: str, cell_id: str, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    known = {"session": session, "cell_id": cell_id}
    columns = [
        table.column(name) if name in table.column_names else _repeated(known[name], table.num_rows)
        for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _repeated(text: str, count: int) -> pa.Array:
    import pyarrow as pa

    zeros = pa.nulls(count, pa.int32()).fill_null(0)
    return pa.DictionaryArray.from_arrays(zeros, pa.array([text]))


_ARROW: Final = {"text": "string", "integer": "int64", "number": "float64"}


def summary_table(summary: SessionSummary) -> pa.Table:
    """The figures of the reports, a row for each cell, with units and meanings in the metadata."""
    import pyarrow as pa

    schema = pa.schema(
        [
            pa.field(
                column.name,
                pa.type_for_alias(_ARROW[column.kind]),
                metadata={"doc": column.description, **({"unit": column.unit} if column.unit else {})},
            )
            for column in COLUMNS
        ]
    )
    return pa.Table.from_pylist([values(row) for row in cell_rows(summary)], schema=schema)


# -- files --------------------------------------------------------------------------------------


def _write(file: Path, name: str, schema: pa.Schema, pieces: Iterator[pa.Table], form: Form) -> pa.Schema:
    """One file, under its name only once it is whole; returns the schema that it has."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    write = _write_parquet if form == "parquet" else _write_csv
    try:
        written = write(temporary, name, schema, pieces)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _write_parquet(file: Path, name: str, schema: pa.Schema, pieces: Iterator[pa.Table]) -> pa.Schema:
    import pyarrow.parquet as pq

    described = schema.with_metadata({"joulebench": json.dumps(described_columns(name, schema))})
    with pq.ParquetWriter(str(file), described, compression="zstd") as writer:
        for piece in pieces:
            if piece.num_rows:
                writer.write_table(piece.cast(described))
    return described


def _write_csv(file: Path, _name: str, schema: pa.Schema, pieces: Iterator[pa.Table]) -> pa.Schema:
    from pyarrow import csv

    flat = writable_schema(schema)
    with csv.CSVWriter(str(file), flat) as writer:
        for piece in pieces:
            if piece.num_rows:
                writer.write_table(as_csv(piece, flat))
    return flat


def described_columns(name: str, schema: pa.Schema) -> Mapping[str, object]:
    """Units and meanings by column, for readers that do not know Arrow's own metadata."""
    from joulebench.session.tables import SCHEMA_VERSION

    metadata = {field.name: {k.decode(): v.decode() for k, v in (field.metadata or {}).items()} for field in schema}
    return {
        "table": name,
        "schema_version": SCHEMA_VERSION,
        "units": {column: value["unit"] for column, value in metadata.items() if "unit" in value},
        "meanings": {column: value["doc"] for column, value in metadata.items() if "doc" in value},
    }
