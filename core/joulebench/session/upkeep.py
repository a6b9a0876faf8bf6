"""What is wrong with a session's files, and what can be saved of one that was cut off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from joulebench.errors import SessionError
from joulebench.session.files import (
    PART,
    conform,
    is_plain_file,
    is_plain_folder,
    part_of,
    read_file,
    read_part,
    write_table,
)
from joulebench.session.reader import Session, cell_entries, check_cell_id
from joulebench.session.schema import CELL_TABLES, versioned
from joulebench.session.tables import CellRow

#: What of a stream could not be read when it was made final, kept beside the table.
UNREAD: Final = ".unread"


@dataclass(frozen=True, slots=True)
class FileFault:
    """One thing that is wrong with a session's files."""

    file: str
    what: str
    recoverable: bool


def verify(path: Path) -> list[FileFault]:
    """What is wrong with the files of a session.

    Unfinished streams, unreadable files, checksums that differ, rows in another cell's folder,
    folders that the plan does not name, numbers that are none.
    """
    session = Session(path)
    faults = [
        FileFault(f"{entry.name}/", "is a link or a file, not a cell's folder: not read", False)
        for entry in cell_entries(path)
        if not is_plain_folder(entry)
    ]
    try:
        _ = session.cell_ids
    except SessionError as error:
        faults.append(FileFault("cells/", error.what, False))
    for entry in cell_entries(path):
        if is_plain_folder(entry):
            unwritten = _never_measured(session, entry)
            for name in CELL_TABLES:
                if name == "cell" or not unwritten:
                    faults.extend(_verify_table(session, entry / f"{name}.arrow", name))
    return faults


def _never_measured(session: Session, folder: Path) -> bool:
    """Whether a cell was skipped, or failed before its first block: its row is all that was written."""
    if {entry.name for entry in folder.iterdir()} != {"cell.arrow"}:
        return False
    try:
        rows = session.rows(CellRow, folder.name)
    except SessionError:
        return False
    return bool(rows) and rows[0].status != "ok" and rows[0].tables is None


def _verify_table(session: Session, final: Path, name: str) -> Iterator[FileFault]:
    cell_id = final.parent.name
    label = f"{cell_id}/{final.name}"
    part = part_of(final)
    for file in (final, part):
        if file.is_symlink() or (file.exists() and not file.is_file()):
            what = "is a link: not read" if file.is_symlink() else "is not a regular file: not read"
            yield FileFault(f"{cell_id}/{file.name}", what, False)
            return
    if part.exists() and final.exists():
        yield FileFault(label + PART, "stream left beside its finished file", True)
    elif part.exists():
        yield FileFault(label + PART, f"unfinished stream, {read_part(part).rows} whole rows", True)
    elif not final.exists():
        yield FileFault(label, "missing" if name != "cell" else "cell did not finish", False)
        return
    if not final.exists():
        return
    try:
        check_cell_id(session.table(name, cell_id), cell_id, label)  # checksums first, before Arrow decodes
        table = read_file(final)
    except SessionError as error:
        yield FileFault(label, error.what, False)
        return
    missing = [column for column in CELL_TABLES[name].names if column not in table.column_names]
    if missing and not _older(table):
        yield FileFault(label, f"lacks columns: {', '.join(missing)}", False)


def _older(table: pa.Table) -> bool:
    """Whether an older joulebench wrote a table: it has fewer columns."""
    now = versioned(pa.schema([])).metadata or {}
    own = table.schema.metadata or {}
    return b"joulebench_schema" in own and own != now and b"joulebench_schema_minor" in own


def recover(path: Path) -> list[str]:
    """Turn the unfinished streams of a session into final files; returns what was made.

    A stream of which something cannot be read is kept beside its table, as ``NAME.arrow.unread``.
    """
    session = Session(path)
    made: list[str] = []
    for cell_id in session.cell_ids:
        folder = path / "cells" / cell_id
        for name in CELL_TABLES:
            final = folder / f"{name}.arrow"
            part = part_of(final)
            if not is_plain_file(part):
                continue
            if is_plain_file(final):
                part.unlink()  # the final file was made of it and is whole
                made.append(f"{cell_id}/{final.name} (its stream was left over)")
            elif not final.exists():
                made.append(f"{cell_id}/{_recover_table(part, final, name)}")
        for stale in (*folder.glob(".*.arrow.*"), *folder.glob("*.arrow.part.new")):
            with contextlib.suppress(OSError):
                stale.unlink()
    return made


def _recover_table(part: Path, final: Path, name: str) -> str:
    content = read_part(part)
    schema = versioned(CELL_TABLES[name])
    batches = [conform(batch, schema, part) for batch in content.batches]
    write_table(final, pa.Table.from_batches(batches, schema=schema))
    if content.unread is None:
        part.unlink()
        return final.name
    part.rename(final.with_name(final.name + UNREAD))
    return f"{final.name} ({content.rows} rows; the stream, which ends damaged, is kept as {final.name}{UNREAD})"
