"""The session folder: streams while a run is under way, plain Arrow files when it is done.

A table in progress is ``NAME.arrow.part`` (Arrow IPC *stream*: whatever batch is complete can be
read, also after ``kill -9``). When its cell ends it becomes ``NAME.arrow`` (Arrow IPC *file*, LZ4)
by an atomic rename, which pyarrow, Polars, DuckDB and pandas read by themselves.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc

from joulebench.errors import SessionError
from joulebench.session.schema import CELL_TABLES, SCHEMA_VERSION, SESSION, versioned

PART: Final = ".part"
SESSION_FILE: Final = "session.arrow"
#: Rows of a batch in a final file: what a reader that goes batch by batch has in memory at once.
_BATCH_ROWS: Final = 1 << 18

#: A table of a snapshot that is no larger is kept once it is read, in bytes.
_SMALL_BYTES: Final = 1 << 17

#: One row, by column. The values' types are the schema's.
Row = Mapping[str, Any]


class TableStream:
    """Appends rows to one table of a running cell."""

    def __init__(self, final: Path, schema: pa.Schema) -> None:
        self._final = final
        self._schema = versioned(schema)
        self._part = part_of(final)
        # What an interrupted run left is written again first, so that one stream holds all. A
        # final file is whole and holds all that its stream did.
        kept: list[pa.RecordBatch] = []
        if final.exists():
            kept = _read_file(final).to_batches()
        elif self._part.exists():
            kept = _read_part(self._part)
        fresh = self._part.with_name(self._part.name + ".new")
        self._file = fresh.open("wb")
        self._writer = pa.ipc.new_stream(self._file, self._schema)
        for batch in kept:
            self._writer.write_batch(_conform(batch, self._schema, final))
        self._file.flush()
        fresh.replace(self._part)
        final.unlink(missing_ok=True)

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows as one batch and hand it to the system (it survives ``kill -9``)."""
        if rows:
            self.write(pa.Table.from_pylist([dict(row) for row in rows], schema=self._schema))

    def write(self, table: pa.Table) -> None:
        """Write a table whose columns are the schema's."""
        for batch in table.combine_chunks().to_batches():
            self._writer.write_batch(batch)
        self._file.flush()

    def close(self) -> None:
        """End the stream, leaving it in its unfinished form."""
        self._writer.close()
        self._file.close()

    def finish(self) -> None:
        """Make the table final: one Arrow file, under its name only once it is whole."""
        self.close()
        _finalise(self._part, self._final, self._schema)

    def finish_with(self, rows: Sequence[Row]) -> None:
        """Make the table final with these rows in place of the streamed ones."""
        self.close()
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=self._schema)
        write_table(self._final, table)
        self._part.unlink()


def part_of(final: Path) -> Path:
    """The stream of a table that is not final yet."""
    return final.with_name(final.name + PART)


def _conform(batch: pa.RecordBatch, schema: pa.Schema, where: Path) -> pa.RecordBatch:
    if not batch.schema.equals(schema):
        raise SessionError(
            "was written by another version of joulebench",
            where=str(where),
            hint="go on with the version that began the session, or start a new one",
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def _read_part(part: Path) -> list[pa.RecordBatch]:
    with part.open("rb") as source:
        return _whole_batches(source)


def _whole_batches(source: Any) -> list[pa.RecordBatch]:
    """The complete batches of a stream that may end anywhere."""
    batches: list[pa.RecordBatch] = []
    try:
        reader = pa.ipc.open_stream(source)
        while True:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            batches.append(batch)
    except (StopIteration, pa.ArrowException, OSError, EOFError):
        return batches


def _finalise(part: Path, final: Path, schema: pa.Schema) -> None:
    batches = [_conform(batch, schema, part) for batch in _read_part(part)]
    write_table(final, pa.Table.from_batches(batches, schema=schema))
    part.unlink()


def read_stream(source: Any) -> pa.Table:
    """The table of a stream, as far as it goes."""
    batches = _whole_batches(source)
    return pa.Table.from_batches(batches) if batches else pa.table({})


def _table_of_part(part: Path) -> pa.Table:
    with part.open("rb") as source:
        return read_stream(source)


def write_table(final: Path, table: pa.Table) -> None:
    """Write an Arrow file so that its name never stands for half of it."""
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with temporary.open("wb") as sink:
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            # A file holds one dictionary per column, whatever the stream's batches had.
            whole = table.unify_dictionaries().combine_chunks()
            writer.write_table(whole, max_chunksize=_BATCH_ROWS)
        sink.flush()
        os.fsync(sink.fileno())
    temporary.replace(final)


def _read_file(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as source:
            return decode(source)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(error, str(path)) from None


def decode(source: Any) -> pa.Table:
    """The table of an Arrow file. Raises Arrow's own errors where it is damaged."""
    table = pa.ipc.open_file(source).read_all()
    # Arrow trusts the offsets in a file; a damaged one would be read out of bounds.
    table.validate(full=True)
    _ = table.column_names, table.schema.metadata  # decoded only now
    return table


def unreadable(error: Exception, where: str) -> SessionError:
    """What to say of a file that is no Arrow file, or a damaged one."""
    return SessionError(
        f"not a readable Arrow file ({error})",
        where=where,
        hint="'joulebench session verify' lists what is damaged, 'recover' saves the rest",
    )


class SessionWriter:
    """Writes a session folder. The parent of a run is its only writer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_session(self, row: Row) -> None:
        """Write (or write anew) the one row of ``session.arrow``."""
        table = pa.Table.from_pylist([dict(row)], schema=versioned(SESSION))
        write_table(self.path / SESSION_FILE, table)

    def cell_folder(self, cell_id: str) -> Path:
        """The folder of a cell, made if need be."""
        folder = self.path / "cells" / cell_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def stream(self, cell_id: str, table: str) -> TableStream:
        """A stream for one of the cell's tables; goes on where an earlier run stopped."""
        return TableStream(self.cell_folder(cell_id) / f"{table}.arrow", CELL_TABLES[table])

    def write_cell(self, row: Row) -> None:
        """Write the cell's own row: its presence says that the cell is complete."""
        table = pa.Table.from_pylist([dict(row)], schema=versioned(CELL_TABLES["cell"]))
        write_table(self.cell_folder(row["cell_id"]) / "cell.arrow", table)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a session's files."""

    file: str
    what: str
    recoverable: bool


class Session:
    """Reads a session folder, finished or not. Tables are ``pyarrow.Table``.

    Nothing is cached, so that a run under way is seen as it is; but see :meth:`snapshot`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._take(_session_table(path), str(path))

    def _take(self, table: pa.Table, where: str) -> None:
        if table.num_rows != 1:
            raise SessionError("session.arrow must have one row", where=where)
        self._chosen: frozenset[str] | None = None
        self._kept: dict[tuple[str, str], pa.Table | None] | None = None
        # A column that an older version did not write is unknown.
        self._row: dict[str, Any] = {**dict.fromkeys(SESSION.names), **table.to_pylist()[0]}

    @property
    def row(self) -> dict[str, Any]:
        """The row of ``session.arrow``."""
        return self._row

    def json(self, column: str) -> Any:
        """A ``*_json`` column of the session's row, decoded; ``None`` if null."""
        text = self._row[column]
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            raise SessionError(f"column {column} holds no JSON: {error}", where=str(self.path / SESSION_FILE)) from None

    @property
    def cell_ids(self) -> list[str]:
        """Ids of all cells that have a folder, in the order of the plan.

        A link is no cell's folder: it may lead out of the session.
        """
        found = self._cell_folders()
        if self._chosen is not None:
            found &= self._chosen
        planned = [cell["id"] for cell in (self.json("plan_json") or {}).get("cells", [])]
        ordered = [cell_id for cell_id in planned if cell_id in found]
        return ordered + sorted(found - set(ordered))

    def labels(self) -> dict[str, str]:
        """The label of each cell by its id, planned ones included; the id where there is none."""
        plan = self.json("plan_json") or {}
        found = {cell["id"]: cell.get("label") or cell["id"] for cell in plan.get("cells", [])}
        rows = self.cells().select(["cell_id", "label"]).to_pylist()
        written = {row["cell_id"]: row["label"] for row in rows if row["label"]}
        return {**{cell_id: cell_id for cell_id in self.cell_ids}, **found, **written}

    def only(self, names: Collection[str]) -> Session:
        """The session with these cells alone, each given by its id or label.

        Names that it does not have are passed over.
        """
        wanted = set(names)
        chosen = {cell_id for cell_id, label in self.labels().items() if {cell_id, label} & wanted}
        plan = self.json("plan_json") or {}
        kept = [cell for cell in plan.get("cells", []) if cell["id"] in chosen]
        part = copy.copy(self)
        part._chosen = frozenset(chosen)
        part._row = {**self._row, "plan_json": json.dumps({**plan, "cells": kept})}
        return part

    def snapshot(self) -> Session:
        """The session as a report looks at it: each small table is read once and kept."""
        kept = copy.copy(self)
        kept._kept = {}
        return kept

    def cells(self) -> pa.Table:
        """The rows of all complete cells, in the order of the plan."""
        return self.table("cell")

    def table(self, name: str, cell_id: str | None = None) -> pa.Table:
        """One table of one cell, or of all cells. Unfinished streams are read as far as they go."""
        if name not in CELL_TABLES:
            raise KeyError(name)
        ids = self.cell_ids if cell_id is None else [cell_id]
        tables = [table for each in ids if (table := self._read_once(each, name)) is not None]
        return pa.concat_tables(tables) if tables else CELL_TABLES[name].empty_table()

    def scan(self, name: str, cell_id: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a cell's table, batch by batch, so that the whole is never in memory."""
        final = self._table_file(cell_id, name)
        if final is None or final.name.endswith(PART):
            yield from self.table(name, cell_id).select(list(columns)).to_batches()
            return
        with pa.memory_map(str(final)) as source:
            yield from scan_file(source, columns, CELL_TABLES[name], str(final))

    def _cell_folders(self) -> set[str]:
        return {entry.name for entry in _entries(self.path) if _is_plain_folder(entry)}

    def _table_file(self, cell_id: str, name: str) -> Path | None:
        """The final file of a table, else its stream, else ``None``."""
        folder = self.path / "cells" / cell_id
        if folder.name != cell_id or not _is_plain_folder(folder):
            return None
        final = folder / f"{name}.arrow"
        return next((each for each in (final, part_of(final)) if _is_plain_file(each)), None)

    def _read_once(self, cell_id: str, name: str) -> pa.Table | None:
        key = (cell_id, name)
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        table = self._cell_table(cell_id, name)
        if self._kept is not None and (table is None or table.nbytes <= _SMALL_BYTES):
            self._kept[key] = table
        return table

    def _cell_table(self, cell_id: str, name: str) -> pa.Table | None:
        file = self._table_file(cell_id, name)
        if file is None:
            return None
        read = _table_of_part if file.name.endswith(PART) else _read_file
        return as_now(read(file), CELL_TABLES[name], str(file))


def scan_file(source: Any, columns: Sequence[str], schema: pa.Schema, where: str) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file with these columns alone; only they are decompressed."""
    try:
        names = pa.ipc.open_file(source).schema.names
        here = [names.index(name) for name in columns if name in names]
        source.seek(0)
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=here))
        for place in range(reader.num_record_batches):
            batch = reader.get_batch(place)
            batch.validate(full=True)
            table = as_now(pa.Table.from_batches([batch]), _part_of_schema(schema, columns), where)
            yield from table.to_batches()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(error, where) from None


def _part_of_schema(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in columns])


def as_now(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """The columns of this version's schema: what an older one did not write is null."""
    columns: list[pa.Array | pa.ChunkedArray] = []
    for field in schema:
        index = table.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(table.num_rows, field.type))
        elif table.schema.field(index).type.equals(field.type):
            columns.append(table.column(index))
        else:
            raise SessionError(f"column {field.name} is of another type", where=where)
    return pa.Table.from_arrays(columns, schema=schema)


def _entries(session: Path) -> list[Path]:
    folder = session / "cells"
    return sorted(folder.iterdir()) if _is_plain_folder(folder) else []


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _session_table(path: Path) -> pa.Table:
    file = path / SESSION_FILE
    if not path.exists():
        raise SessionError("no such folder", where=str(path), hint="give the folder of a session")
    if not file.is_file():
        raise SessionError(
            "this is no joulebench session: it has no session.arrow",
            where=str(path),
            hint="give the folder that 'joulebench run' named at its end",
        )
    table = _read_file(file)
    check_version(table, str(file))
    return table


def check_version(table: pa.Table, where: str) -> None:
    """Refuse what is no session's table, or one of a newer joulebench."""
    stated = (table.schema.metadata or {}).get(b"joulebench_schema")
    if stated is None or "schema_version" not in table.column_names:
        raise SessionError("this Arrow file is no joulebench session", where=where)
    version = int(stated) if stated.isdigit() else 0
    if version < 1:
        raise SessionError(f"states the schema version {stated!r}", where=where)
    if version > SCHEMA_VERSION:
        raise SessionError(
            f"written with session schema {version}; this joulebench reads up to {SCHEMA_VERSION}",
            where=where,
            hint="upgrade: pip install --upgrade joulebench",
        )


def verify(path: Path) -> list[Finding]:
    """What is wrong with the files of a session: unfinished streams, unreadable files."""
    session = Session(path)
    findings = [
        Finding(f"{entry.name}/", "is a link or a file, not a cell's folder: not read", False)
        for entry in _entries(path)
        if not _is_plain_folder(entry)
    ]
    for cell_id in session.cell_ids:
        folder = path / "cells" / cell_id
        for name, schema in CELL_TABLES.items():
            findings.extend(_verify_table(folder / f"{name}.arrow", schema, name))
    return findings


def _verify_table(final: Path, schema: pa.Schema, name: str) -> Iterator[Finding]:
    label = f"{final.parent.name}/{final.name}"
    part = part_of(final)
    for each in (final, part):
        if each.is_symlink():
            yield Finding(f"{final.parent.name}/{each.name}", "is a link: not read", False)
            return
    if part.exists() and final.exists():
        yield Finding(label + PART, "stream left beside its finished file", True)
    elif part.exists():
        rows = sum(batch.num_rows for batch in _read_part(part))
        yield Finding(label + PART, f"unfinished stream, {rows} whole rows", True)
    elif not final.exists():
        yield Finding(label, "missing" if name != "cell" else "cell did not finish", False)
        return
    if final.exists():
        try:
            table = _read_file(final)
        except SessionError as error:
            yield Finding(label, error.what, False)
            return
        missing = [column for column in schema.names if column not in table.column_names]
        if missing:
            yield Finding(label, f"lacks columns: {', '.join(missing)}", False)


def recover(path: Path) -> list[str]:
    """Turn the unfinished streams of a session into final files; returns what was made."""
    session = Session(path)
    made: list[str] = []
    for cell_id in session.cell_ids:
        folder = path / "cells" / cell_id
        for name, schema in CELL_TABLES.items():
            final = folder / f"{name}.arrow"
            part = part_of(final)
            if _is_plain_file(part) and final.exists():
                part.unlink()  # the final file was made of it and is whole
                made.append(f"{cell_id}/{final.name} (its stream was left over)")
            elif _is_plain_file(part):
                _finalise(part, final, versioned(schema))
                made.append(f"{cell_id}/{final.name}")
        for stale in folder.glob(".*.arrow.*"):
            with contextlib.suppress(OSError):
                stale.unlink()
    return made


def rows(table: pa.Table, columns: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """A small table as rows; for tables of cells and blocks, never for samples."""
    chosen = table if columns is None else table.select(list(columns))
    result: list[dict[str, Any]] = chosen.to_pylist()
    return result
