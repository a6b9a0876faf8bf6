"""Reads a session folder, finished or not, and holds what it reads against the run's checksums."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from joulebench.errors import SessionError
from joulebench.session.conversion import rows_of
from joulebench.session.files import (
    ALTERED_HINT,
    PART,
    SESSION_FILE,
    altered,
    as_now,
    check_row_seal,
    check_version,
    content_of,
    decode,
    decode_sealed,
    is_plain_file,
    is_plain_folder,
    part_of,
    part_of_schema,
    read_sealed,
    read_stream,
    scan_file,
    sha256_of_bytes,
)
from joulebench.session.jsoncolumns import check_object, check_plan, decoded_json
from joulebench.session.schema import CELL_TABLES, SESSION
from joulebench.session.tables import TABLE_OF_ROWS, SessionRow, TableRow

#: A table of a snapshot whose file is no larger is kept once it is read, in bytes.
_SMALL_BYTES: Final = 1 << 16
#: Of a cell's row what says which tables it has.
_TABLES_OF_CELL: Final = part_of_schema(CELL_TABLES["cell"], ["tables"])

R = TypeVar("R", bound=TableRow)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class StoredTable:
    """The bytes of a table's file; one that is not final is a stream that may go on."""

    content: pa.Buffer
    where: str
    is_final: bool


class Session:
    """Reads a session folder, finished or not. Tables are ``pyarrow.Table``.

    Nothing is cached, so that a run under way is seen as it is; but see :meth:`snapshot`. A file
    that is not what the run wrote, by its checksum, raises :class:`SessionError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._take(_session_table(path), str(path / SESSION_FILE))

    def _take(self, table: pa.Table, where: str) -> None:
        as_now(table, SESSION, where)  # types and ranges
        self._chosen: frozenset[str] | None = None
        self._kept: dict[Hashable, Any] | None = None
        check_row_seal(table, where)
        [self._row] = rows_of(table, SessionRow, where)
        self._where = where

    @property
    def row(self) -> SessionRow:
        """The row of ``session.arrow``."""
        return self._row

    def json(self, column: str) -> Any:
        """A ``*_json`` column of the session's row, decoded; ``None`` if null.

        Raises :class:`SessionError` where it is no JSON object, or ``plan_json`` no plan.
        """
        return self.once(("json", column), lambda: self._decoded(column))

    def _decoded(self, column: str) -> Any:
        value = decoded_json(getattr(self._row, column), column, self._where)
        check_object(value, column, self._where)
        if column == "plan_json" and value is not None:
            check_plan(value, self._where)
        return value

    @property
    def cell_ids(self) -> list[str]:
        """Ids of all cells that have a folder, in the order of the plan.

        A link is no cell's folder: it may lead out of the session. Raises :class:`SessionError`
        where a folder is not in the plan, or one that the run had finished is missing.
        """
        return list(self.once("cell_ids", self._checked_ids))

    def _checked_ids(self) -> list[str]:
        folders = self._cell_folders()
        planned = [cell["id"] for cell in (self.json("plan_json") or {}).get("cells", [])]
        finished = {cell.cell_id for cell in self._row.cells or ()}
        if self._chosen is not None:
            folders &= self._chosen
            finished &= self._chosen
        if planned and (strange := sorted(folders - set(planned))):
            raise SessionError(
                f"has a folder that is not in its plan: cells/{strange[0]}",
                where=str(self.path),
                hint="move it away: a copied folder is not a cell",
            )
        if missing := sorted(finished - folders):
            raise SessionError(f"the folder of a finished cell is missing: cells/{missing[0]}", where=str(self.path))
        ordered = [cell_id for cell_id in planned if cell_id in folders]
        return ordered + sorted(folders - set(ordered))

    def labels(self) -> dict[str, str]:
        """The label of each cell by its id, planned ones included; the id where there is none.

        Of a cell whose own row cannot be read, it is the plan's.
        """
        plan = self.json("plan_json") or {}
        planned = {cell["id"]: cell.get("label") or cell["id"] for cell in plan.get("cells", [])}
        folders = self._cell_folders() if self._chosen is None else self._cell_folders() & self._chosen
        written: dict[str, str] = {}
        for cell_id in folders:
            with contextlib.suppress(SessionError):
                rows = self.table("cell", cell_id).column("label").to_pylist()
                if rows and rows[0]:
                    written[cell_id] = rows[0]
        return {**{cell_id: cell_id for cell_id in sorted(folders)}, **planned, **written}

    def only(self, names: Collection[str]) -> Session:
        """The session with these cells alone, each given by its id or label.

        Names that it does not have are passed over.
        """
        chosen = {cell_id for cell_id, label in self.labels().items() if {cell_id, label} & set(names)}
        plan = self.json("plan_json") or {}
        kept = [cell for cell in plan.get("cells", []) if cell["id"] in chosen]
        part = copy.copy(self)
        part._chosen = frozenset(chosen)
        part._row = replace(self._row, plan_json=json.dumps({**plan, "cells": kept}))
        return part if self._kept is None else part.snapshot()

    def snapshot(self) -> Session:
        """The session as a report looks at it: what is small is read once and kept."""
        kept = copy.copy(self)
        kept._kept = {}
        return kept

    def once(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """What ``make`` gives; of a snapshot always the first, so that readers of it share what they compute."""
        if self._kept is None:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        kept: _Value = self._kept[key]
        return kept

    def cells(self) -> pa.Table:
        """The rows of all complete cells, in the order of the plan."""
        return self.table("cell")

    def table(self, name: str, cell_id: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """One table of one cell, or of all cells, with these columns alone where they are given.

        Unfinished streams are read as far as they go. Rows of all cells say whose they are: tables that
        hold no ``cell_id`` on the disk have it as their first column then.
        """
        schema = CELL_TABLES[name]
        ids = self.cell_ids if cell_id is None else [cell_id]
        stored = {own: table for own in ids if (table := self._stored_once(own, name)) is not None}
        if columns is not None:
            part = part_of_schema(schema, columns)
            return _joined(list(stored.values()), part) if stored else part.empty_table()
        joined = _joined(list(stored.values()), schema) if stored else schema.empty_table()
        if cell_id is not None or _CELL_ID.name in schema.names:
            return joined
        owners = [pa.repeat(own, whole.table.num_rows) for own, whole in stored.items()]
        return joined.add_column(0, _CELL_ID, pa.chunked_array(owners, pa.string()))

    def rows(self, kind: type[R], cell_id: str | None = None) -> list[R]:
        """The rows of a table as :meth:`table` has them, typed: ``rows(BlockRow)``.

        Raises :class:`SessionError` where what every run writes is null.
        """
        name = TABLE_OF_ROWS[kind]
        return rows_of(self.table(name, cell_id), kind, f"{self.path}/cells/{cell_id or '*'}/{name}.arrow")

    def scan(self, name: str, cell_id: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a cell's table, batch by batch, so that the whole is never in memory."""
        final = self._table_file(cell_id, name)
        is_kept = self._kept is not None and self._kept.get((cell_id, name)) is not None
        if is_kept or final is None or final.name.endswith(PART):
            yield from self.table(name, cell_id, columns).to_batches()
            return
        content = content_of(final)
        stated = self._stated_sum(cell_id, name)
        if not self.once(("whole", cell_id, name), lambda: stated in (None, sha256_of_bytes(content))):
            raise altered(str(final))
        yield from scan_file(content, columns, CELL_TABLES[name], str(final))

    def _cell_folders(self) -> set[str]:
        return {entry.name for entry in cell_entries(self.path) if is_plain_folder(entry)}

    def _table_file(self, cell_id: str, name: str) -> Path | None:
        """The final file of a table, else its stream, else ``None``."""
        folder = self.path / "cells" / cell_id
        if folder.name != cell_id or not is_plain_folder(folder):
            return None
        final = folder / f"{name}.arrow"
        return next((file for file in (final, part_of(final)) if is_plain_file(file)), None)

    def _stored_once(self, cell_id: str, name: str) -> _Whole | None:
        key = (cell_id, name)
        if self._kept is not None and key in self._kept:
            kept: _Whole | None = self._kept[key]
            return kept
        whole = self._whole_table(cell_id, name)
        if self._kept is not None and (whole is None or whole.stored_bytes <= _SMALL_BYTES):
            self._kept[key] = whole
        return whole

    def _whole_table(self, cell_id: str, name: str) -> _Whole | None:
        """A cell's table, held against its checksum and its folder's name."""
        stored = self._stored(cell_id, name)
        stated = self._stated_sum(cell_id, name)
        if stated is not None and (stored is None or not stored.is_final):
            raise SessionError("is missing", where=f"{self.path}/cells/{cell_id}/{name}.arrow", hint=ALTERED_HINT)
        if stored is None:
            return None
        if stored.is_final and stated not in (None, sha256_of_bytes(stored.content)):
            raise altered(stored.where)
        if not stored.is_final:
            table = read_stream(pa.BufferReader(stored.content)).table()
        elif name == "cell" and stated is None:
            table = decode_sealed(stored.content, stored.where)
        else:
            table = decode(stored.content, stored.where)
        if name == "cell" and stated is None:
            check_row_seal(table, stored.where)
        return _Whole(table, stored.where, stored.content.size, cell_id)

    def _stored(self, cell_id: str, name: str) -> StoredTable | None:
        file = self._table_file(cell_id, name)
        return None if file is None else StoredTable(content_of(file), str(file), not file.name.endswith(PART))

    def _stated_sum(self, cell_id: str, name: str) -> str | None:
        """SHA-256 of a final table: of ``cell`` in the session's row, of the rest in the cell's.

        ``None`` while the cell is under way.
        """
        if name == "cell":
            return self.once("sums of cells", self._sums_of_cells).get(cell_id)
        return self.once(("sums", cell_id), lambda: self._sums_of_tables(cell_id)).get(name)

    def _sums_of_cells(self) -> dict[str, str]:
        return {cell.cell_id: cell.sha256 for cell in self._row.cells or ()}

    def _sums_of_tables(self, cell_id: str) -> dict[str, str]:
        cell = self._stored_once(cell_id, "cell")
        if cell is None:
            return {}
        row = as_now(cell.table, _TABLES_OF_CELL, cell.where).column("tables").to_pylist()
        return {entry["table"]: entry["sha256"] for entry in (row[0] if row else None) or ()}


#: Whose a row is, of tables that lie in their cell's folder and do not say it.
_CELL_ID: Final = CELL_TABLES["blocks"].field("cell_id")


@dataclass(frozen=True, slots=True)
class _Whole:
    """A table as it was written, its file for messages and that file's size."""

    table: pa.Table
    where: str
    stored_bytes: int
    cell_id: str


def _joined(wholes: Sequence[_Whole], schema: pa.Schema) -> pa.Table:
    """The tables under one schema: looked at together, which is much faster, where they are alike."""
    _check_cell_ids(wholes)
    first = wholes[0].table
    if all(whole.table.schema.equals(first.schema) for whole in wholes):
        try:
            return as_now(pa.concat_tables([whole.table for whole in wholes]), schema, "")
        except SessionError:
            pass  # one of them holds what it must not; the next lines find it
    return pa.concat_tables([as_now(whole.table, schema, whole.where) for whole in wholes])


def _check_cell_ids(wholes: Sequence[_Whole]) -> None:
    """As :func:`check_cell_id`, of many tables at once: each by itself costs more than what it holds."""
    chunks = [chunk for whole in wholes if _has_cell_id(whole.table) for chunk in whole.table.column("cell_id").chunks]
    expected = [whole.cell_id for whole in wholes if _has_cell_id(whole.table) for _ in range(whole.table.num_rows)]
    kinds = {chunk.type for chunk in chunks}
    if len(kinds) == 1 and pa.chunked_array(chunks).to_pylist() == expected:
        return
    for whole in wholes:
        check_cell_id(whole.table, whole.cell_id, whole.where)


def _has_cell_id(table: pa.Table) -> bool:
    return "cell_id" in table.schema.names


def check_cell_id(table: pa.Table, cell_id: str, where: str) -> None:
    """Refuse rows that say they are another cell's than their folder's."""
    if "cell_id" not in table.column_names or not table.num_rows:
        return
    for stated in set(table.column("cell_id").to_pylist()):
        if stated != cell_id:
            raise SessionError(f"holds rows of the cell '{stated}'", where=where, hint="it was moved or copied here")


def cell_entries(session: Path) -> list[Path]:
    """What lies in the folder of cells."""
    folder = session / "cells"
    return sorted(folder.iterdir()) if is_plain_folder(folder) else []


def _session_table(path: Path) -> pa.Table:
    file = path / SESSION_FILE
    if not path.exists():
        raise SessionError("no such folder", where=str(path), hint="give the folder of a session")
    if not file.is_file():
        raise SessionError(
            "this is not a joulebench session: it has no session.arrow",
            where=str(path),
            hint="give the folder that 'joulebench run' named at its end",
        )
    table = read_sealed(file)
    check_version(table, str(file))
    return table
