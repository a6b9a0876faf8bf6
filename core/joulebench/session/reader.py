"""Reads a session folder, finished or not, and holds what it reads against the run's checksums."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Collection, Iterator, Sequence
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
    check_version,
    is_plain_file,
    is_plain_folder,
    part_of,
    read_file,
    read_part,
    read_sealed,
    scan_file,
    sealed_row,
    sha256_of,
)
from joulebench.session.jsoncolumns import check_object, check_plan, decoded_json
from joulebench.session.schema import CELL_TABLES, SESSION
from joulebench.session.tables import TABLE_OF_ROWS, CellRow, SessionRow, TableRow

#: A table of a snapshot that is no larger is kept once it is read, in bytes.
_SMALL_BYTES: Final = 1 << 17
R = TypeVar("R", bound=TableRow)


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table that lies in a file: how it is read, and how a final one is hashed before that."""

    read: Callable[[], pa.Table]
    where: str
    sha256: Callable[[], str] | None


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
        self._kept: dict[tuple[str, str], pa.Table | None] | None = None
        sealed_row(table, where)
        [self._row] = _typed(table, SessionRow, where)
        self._where = where

    @property
    def row(self) -> SessionRow:
        """The row of ``session.arrow``."""
        return self._row

    def json(self, column: str) -> Any:
        """A ``*_json`` column of the session's row, decoded; ``None`` if null.

        Raises :class:`SessionError` where it is no JSON object, or ``plan_json`` no plan.
        """
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
                hint="move it away: a copied folder is no cell",
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
        tables = [table for own in ids if (table := self._read_once(own, name)) is not None]
        return pa.concat_tables(tables) if tables else CELL_TABLES[name].empty_table()

    def rows(self, kind: type[R], cell_id: str | None = None) -> list[R]:
        """The rows of a table as :meth:`table` has them, typed: ``rows(BlockRow)``.

        Raises :class:`SessionError` where what every run writes is null.
        """
        name = TABLE_OF_ROWS[kind]
        return _typed(self.table(name, cell_id), kind, f"{self.path}/cells/{cell_id or '*'}/{name}.arrow")

    def scan(self, name: str, cell_id: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a cell's table, batch by batch, so that the whole is never in memory."""
        final = self._table_file(cell_id, name)
        if final is None or final.name.endswith(PART):
            yield from self.table(name, cell_id).select(list(columns)).to_batches()
            return
        if self._stated_sum(cell_id, name) not in (None, sha256_of(final)):
            raise altered(str(final))
        with pa.memory_map(str(final)) as source:
            yield from scan_file(source, columns, CELL_TABLES[name], str(final))

    def _cell_folders(self) -> set[str]:
        return {entry.name for entry in cell_entries(self.path) if is_plain_folder(entry)}

    def _table_file(self, cell_id: str, name: str) -> Path | None:
        """The final file of a table, else its stream, else ``None``."""
        folder = self.path / "cells" / cell_id
        if folder.name != cell_id or not is_plain_folder(folder):
            return None
        final = folder / f"{name}.arrow"
        return next((file for file in (final, part_of(final)) if is_plain_file(file)), None)

    def _read_once(self, cell_id: str, name: str) -> pa.Table | None:
        key = (cell_id, name)
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        table = self._cell_table(cell_id, name)
        if self._kept is not None and (table is None or table.nbytes <= _SMALL_BYTES):
            self._kept[key] = table
        return table

    def _cell_table(self, cell_id: str, name: str) -> pa.Table | None:
        """A cell's table, held against its checksum, its folder's name and the schema."""
        stored = self._stored(cell_id, name)
        stated = self._stated_sum(cell_id, name)
        if stated is not None and (stored is None or stored.sha256 is None):
            raise SessionError("is missing", where=f"{self.path}/cells/{cell_id}/{name}.arrow", hint=ALTERED_HINT)
        if stored is None:
            return None
        if stored.sha256 is not None and stated not in (None, stored.sha256()):
            raise altered(stored.where)
        raw = stored.read()
        table = as_now(raw, CELL_TABLES[name], stored.where)
        if name == "cell":
            sealed_row(raw, stored.where)
        check_cell_id(table, cell_id, stored.where)
        return table

    def _stored(self, cell_id: str, name: str) -> StoredTable | None:
        file = self._table_file(cell_id, name)
        if file is None:
            return None
        if file.name.endswith(PART):
            return StoredTable(lambda: read_part(file).table(), str(file), None)
        read = read_sealed if name == "cell" else read_file
        return StoredTable(lambda: read(file), str(file), lambda: sha256_of(file))

    def _stated_sum(self, cell_id: str, name: str) -> str | None:
        """SHA-256 of a final table: of ``cell`` in the session's row, of the rest in the cell's.

        ``None`` while the cell is under way.
        """
        if name == "cell":
            return {cell.cell_id: cell.sha256 for cell in self._row.cells or ()}.get(cell_id)
        return {table.table: table.sha256 for row in self.rows(CellRow, cell_id) for table in row.tables or ()}.get(
            name
        )


def _typed(table: pa.Table, kind: type[R], where: str) -> list[R]:
    try:
        return rows_of(table, kind)
    except ValueError as error:
        raise SessionError(str(error), where=where) from None


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
            "this is no joulebench session: it has no session.arrow",
            where=str(path),
            hint="give the folder that 'joulebench run' named at its end",
        )
    table = read_sealed(file)
    check_version(table, str(file))
    return table
