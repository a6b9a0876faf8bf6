"""Published tables → a session folder, so that every report reads them as it reads a run.

A row becomes a block of one request: the published energy is that of the prompt's whole window.
What is somebody else's measurement says so: the channels are named ``melodi/…``, their notes name
the instrument, and the faults of each table stand in its cells' facts. Times are UTC, and the
monotonic clock of the session is UTC as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from joulebench.errors import SessionError
from joulebench.session.tables import CellRow, ChannelRow, ClockTriple, ProbeRow, SessionRow, TableRow
from joulebench_reports.melodi.faults import TableFault, findings, known_device, silent_columns
from joulebench_reports.melodi.promptrows import block_row, energy_rows, request_row, utc_ns
from joulebench_reports.melodi.publishedtable import PublishedRow, PublishedTable
from joulebench_reports.melodi.sensors import PROBE, SENSORS, PublishedSensor, channel_of

if TYPE_CHECKING:
    from joulebench.session.writing import SessionWriter


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made: the folder, and each table's faults."""

    folder: Path
    cells: int
    rows: int
    faults: tuple[tuple[str, tuple[TableFault, ...]], ...]


def import_tables(tables: Sequence[PublishedTable], folder: Path) -> Imported:
    """Write the tables as one finished session into ``folder``, which must be new or empty."""
    from joulebench.session.writing import SessionWriter

    _claim(folder)
    writer = SessionWriter(folder)
    faults = tuple((table.name, findings(table)) for table in tables)
    cells = list(_cells(tables, dict(faults)))
    for cell in cells:
        _write(writer, cell)
    # Last of all: without it the folder is no session, so half an import cannot be taken for one.
    writer.write_session(_session_row(folder.name, tables, cells))
    return Imported(folder, len(cells), sum(len(table.rows) for table in tables), faults)


def _claim(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise SessionError("exists and is not empty", where=str(folder), hint="give --output a new folder")
    folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class _Cell:
    id: str
    label: str
    model: str
    device: str | None
    table: PublishedTable
    rows: tuple[tuple[int, PublishedRow], ...]
    silent: tuple[str, ...]
    faults: tuple[TableFault, ...]


def _cells(tables: Sequence[PublishedTable], faults: Mapping[str, tuple[TableFault, ...]]) -> Iterator[_Cell]:
    """One cell for each model and device of each table."""
    number = 0
    for table in tables:
        groups: dict[tuple[str, str | None], list[tuple[int, PublishedRow]]] = {}
        for place, row in enumerate(table.rows):
            key = (row.texts["model_name"] or "unknown", known_device(row))
            groups.setdefault(key, []).append((place, row))
        silent = silent_columns(table.rows)
        for (model, device), rows in groups.items():
            label = " · ".join([model, Path(table.name).stem, *([device] if device is not None else [])])
            yield _Cell(
                f"{number:03d}-{_slug(label)}", label, model, device, table, tuple(rows), silent, faults[table.name]
            )
            number += 1


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "cell"


def _same_clock(moment: datetime | None) -> ClockTriple | None:
    at = utc_ns(moment)
    return None if at is None else ClockTriple(before_ns=at, utc_ns=at, after_ns=at)


def _span(rows: Sequence[PublishedRow]) -> tuple[datetime | None, datetime | None]:
    starts = [at for row in rows if (at := row.times["start_time"]) is not None]
    ends = [at for row in rows if (at := row.times["end_time"]) is not None]
    return min(starts, default=None), max(ends, default=None)


# -- rows of the session's tables -----------------------------------------------------------------


def _session_row(name: str, tables: Sequence[PublishedTable], cells: Sequence[_Cell]) -> SessionRow:
    start, end = _span([row for table in tables for row in table.rows])
    return SessionRow(
        session_id=name,
        joulebench_version=version("joulebench"),
        status="complete",
        created_at=start,
        finished_at=end,
        profile_name="published MELODI tables",
        plan_json=json.dumps({"cells": [{"id": cell.id, "label": cell.label, "model": cell.model} for cell in cells]}),
        machine_json=json.dumps({}),
        versions_json=json.dumps({}),
        clock_start=_same_clock(start),
        clock_end=_same_clock(end),
        channels=tuple(map(_channel_row, SENSORS)),
        probes=(ProbeRow(probe=PROBE, available=True), *_missing_sensors(cells)),
    )


def _missing_sensors(cells: Sequence[_Cell]) -> Iterator[ProbeRow]:
    for sensor in SENSORS:
        files = sorted({cell.table.name for cell in cells if sensor.column in cell.silent})
        if files:
            yield ProbeRow(
                probe=channel_of(sensor.column),
                available=False,
                reason=f"{sensor.column} is 0 in every row of {', '.join(files)}: unknown",
            )


def _channel_row(sensor: PublishedSensor) -> ChannelRow:
    return ChannelRow(
        channel=channel_of(sensor.column),
        quantity="energy",
        unit="J",
        kind="gauge",
        provenance=sensor.provenance,
        domain=sensor.domain,
        counted=sensor.counted,
        note=sensor.note,
    )


def _write(writer: SessionWriter, cell: _Cell) -> None:
    rows: dict[str, Sequence[TableRow]] = {
        "blocks": [block_row(cell.id, place, row) for place, row in cell.rows],
        "energy": [
            energy_row
            for place, row in cell.rows
            for energy_row in energy_rows(cell.id, place, row, cell.table.columns, cell.silent)
        ],
        "requests": [request_row(cell.id, place, row) for place, row in cell.rows],
        "samples": [],
        "events": [],
    }
    for name, content in rows.items():
        stream = writer.stream(cell.id, name)
        stream.append(content)
        stream.finish()
    start, end = _span([row for _, row in cell.rows])
    record = CellRow(
        cell_id=cell.id,
        label=cell.label,
        model=cell.model,
        model_source=f"published table {cell.table.name}",
        technique="none",
        backend="unknown",
        device=cell.device,
        workload="melodi",
        unit="token",
        status="ok",
        facts_json=json.dumps(
            {
                "published": {
                    "file": cell.table.name,
                    "sha256": cell.table.sha256,
                    "rows": len(cell.rows),
                    "faults": [fault_text(fault) for fault in cell.faults],
                }
            },
            ensure_ascii=False,
        ),
        processes=1,
        blocks=len(cell.rows),
        started_at=start,
        finished_at=end,
        clock_start=_same_clock(start),
        clock_end=_same_clock(end),
    )
    writer.write_cell(record)


def fault_text(fault: TableFault) -> str:
    """A fault in one line, with the rows that it touches."""
    touched = "every row" if fault.rows == fault.of else f"{fault.rows} of {fault.of} rows"
    first = "" if fault.line is None or fault.rows == fault.of else f", first in line {fault.line}"
    return f"{fault.name}: {fault.what} ({touched}{first})"
