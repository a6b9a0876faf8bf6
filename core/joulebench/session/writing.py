"""What a run writes: streams while a cell is under way, final tables and their checksums at its end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

from joulebench.errors import SessionError
from joulebench.session.conversion import table_of
from joulebench.session.files import (
    ROW_DIGEST,
    SESSION_FILE,
    conform,
    is_plain_file,
    is_plain_folder,
    part_of,
    read_file,
    read_part,
    row_digest,
    sha256_of,
    write_sealed,
    write_table,
)
from joulebench.session.schema import file_schema
from joulebench.session.tables import CELL_ROWS, CellChecksum, CellRow, SessionRow, TableChecksum, TableRow


class TableStream:
    """Appends rows to one table of a running cell."""

    def __init__(self, final: Path, rows: type[TableRow]) -> None:
        self._final = final
        self._kind = rows
        self._schema = file_schema(rows)
        self._part = part_of(final)
        # What an interrupted run left is written again first, so that one stream holds all. A
        # final file is whole and holds all that its stream did.
        kept: list[pa.RecordBatch] = []
        if is_plain_file(final):
            kept = read_file(final).to_batches()
        elif is_plain_file(self._part):
            kept = read_part(self._part).batches
        fresh = self._part.with_name(self._part.name + ".new")
        self._file = fresh.open("wb")
        self._writer = pa.ipc.new_stream(self._file, self._schema)
        self._rows = 0
        for batch in kept:
            self._write_batch(conform(batch, self._schema, final))
        self._file.flush()
        fresh.replace(self._part)
        final.unlink(missing_ok=True)

    def append(self, rows: Sequence[TableRow]) -> None:
        """Write the rows as one batch and hand it to the system (it survives ``kill -9``).

        Raises :class:`SessionError` if the file has been removed meanwhile.
        """
        if rows:
            self.write(table_of(rows, self._kind))

    def write(self, table: pa.Table) -> None:
        """Write a table whose columns are the schema's."""
        for batch in table.combine_chunks().to_batches():
            self._write_batch(batch)
        self._file.flush()
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise SessionError("was removed while the run was writing it", where=str(self._part))

    def _write_batch(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self._rows += batch.num_rows

    def close(self) -> None:
        """End the stream, leaving it in its unfinished form."""
        self._writer.close()
        self._file.close()

    def finish(self) -> None:
        """Make the table final: one Arrow file, under its name only once it is whole.

        Raises :class:`SessionError`, and keeps the stream, where not every row can be read again.
        """
        self.close()
        content = read_part(self._part)
        if content.unread is not None or content.rows != self._rows:
            raise SessionError(
                f"{self._rows} rows were written and {content.rows} can be read ({content.unread or 'no error'})",
                where=str(self._part),
                hint="the stream is kept; look at the disk",
            )
        batches = [conform(batch, self._schema, self._part) for batch in content.batches]
        write_table(self._final, pa.Table.from_batches(batches, schema=self._schema))
        self._part.unlink()

    def finish_with(self, rows: Sequence[TableRow]) -> None:
        """Make the table final with these rows in place of the streamed ones."""
        self.close()
        write_table(self._final, table_of(rows, self._kind))
        self._part.unlink()


class SessionWriter:
    """Writes a session folder. The parent of a run is its only writer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_session(self, row: SessionRow) -> None:
        """Write (or write anew) the one row of ``session.arrow``, with checksums of finished cells."""
        cells = tuple(
            CellChecksum(cell_id=folder.name, sha256=sha256_of(folder / "cell.arrow"))
            for folder in sorted((self.path / "cells").glob("*"))
            if is_plain_folder(folder) and is_plain_file(folder / "cell.arrow")
        )
        running = row.status == "running"
        _write_row(self.path / SESSION_FILE, replace(row, cells=None if running else cells or None))

    def cell_folder(self, cell_id: str) -> Path:
        """The folder of a cell, made if need be."""
        folder = self.path / "cells" / cell_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def stream(self, cell_id: str, table: str) -> TableStream:
        """A stream for one of the cell's tables; goes on where an earlier run stopped."""
        return TableStream(self.cell_folder(cell_id) / f"{table}.arrow", CELL_ROWS[table])

    def write_cell(self, row: CellRow) -> None:
        """Write the cell's own row, with checksums of its tables: it says that the cell is complete."""
        folder = self.cell_folder(row.cell_id)
        tables = tuple(
            TableChecksum(table=name, bytes=file.stat().st_size, sha256=sha256_of(file))
            for name in CELL_ROWS
            if name != "cell" and is_plain_file(file := folder / f"{name}.arrow")
        )
        _write_row(folder / "cell.arrow", replace(row, tables=tables or None))


def _write_row(file: Path, row: SessionRow | CellRow) -> None:
    """A table of one row, whose metadata hold a checksum of its values."""
    table = table_of([row], type(row))
    digest = row_digest(table.to_pylist()[0])
    metadata = {**(table.schema.metadata or {}), ROW_DIGEST: digest.encode()}
    write_sealed(file, table.replace_schema_metadata(metadata))
