"""For tests that alter a session's tables afterwards: checksums made anew, or left out as before 1.3."""

from __future__ import annotations

from pathlib import Path

from joulebench.session import files
from joulebench.session.conversion import rows_of
from joulebench.session.schema import CELL_TABLES, SESSION
from joulebench.session.tables import CellRow, SessionRow
from joulebench.session.writing import SessionWriter


def reseal(path: Path) -> None:
    """Make the checksums of a session anew from the files as they are now."""
    writer = SessionWriter(path)
    for folder in sorted((path / "cells").iterdir()):
        if (folder / "cell.arrow").exists():
            table = files.as_now(files.read_file(folder / "cell.arrow"), CELL_TABLES["cell"], "")
            [cell] = rows_of(table, CellRow, "")
            writer.write_cell(cell)
    table = files.as_now(files.read_file(path / "session.arrow"), SESSION, "")
    [session] = rows_of(table, SessionRow, "")
    writer.write_session(session)


def unseal(path: Path) -> None:
    """Leave out every checksum, as a joulebench before schema 1.3 did."""
    for file in (*path.glob("cells/*/cell.arrow"), path / "session.arrow"):
        table = files.read_file(file)
        table = table.drop_columns([name for name in ("tables", "cells", "legs") if name in table.column_names])
        old = {b"joulebench_schema": b"1", b"joulebench_schema_minor": b"2"}
        files.write_table(file, table.replace_schema_metadata(old))
