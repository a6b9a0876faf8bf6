"""Reads a published MELODI table (CSV), strictly: every fault names its file and line."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from joulebench.errors import SessionError
from joulebench_reports.melodi.columns import CLOCK, NUMBERS, PUBLISHED, REQUIRED, TEXTS, TIMES

#: A published table has a few megabytes; a larger file than this is something else.
LARGEST_BYTES: Final = 512 * 2**20
_NULLS: Final = frozenset({"", "nan", "NaN", "None", "null", "NaT"})
#: What pandas writes for a time span: ``0 days 00:01:34.884369``.
_SPAN: Final = re.compile(r"(-?\d+) days? (\d+):(\d\d):(\d\d(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One prompt; ``line`` is where its row begins. Unknown is ``None``.

    ``clock_s`` is in seconds; ``numbers`` holds the other numeric columns in their own units.
    """

    line: int
    texts: Mapping[str, str | None]
    times: Mapping[str, datetime | None]
    clock_s: float | None
    numbers: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table as it was read.

    ``unnamed`` holds the texts of each column that has no name or is an index; ``unknown`` names
    the columns that MELODI does not have.
    """

    name: str
    sha256: str
    columns: tuple[str, ...]
    unnamed: tuple[tuple[str, tuple[str, ...]], ...]
    unknown: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


def read_table(path: Path) -> PublishedTable:
    """The table in ``path``; raises :class:`SessionError` on the first thing that is not one."""
    data = _bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _fault("is not UTF-8 text", path, line) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if not header or not any(name.strip() for name in header):
            raise SessionError("is empty", where=str(path), hint="give a table that MELODI wrote, as CSV")
        _check_header(header, path)
        start = reader.line_num + 1
        records: list[tuple[int, list[str]]] = []
        for fields in reader:
            if fields:
                records.append((start, fields))
            start = reader.line_num + 1
        return _table(path, data, header, records)
    except csv.Error as error:
        raise _fault(f"is no CSV: {error}", path, reader.line_num) from None


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise SessionError("is a folder", where=str(path), hint="give the CSV files in it")
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise SessionError(
                f"has {size / 2**20:.0f} MiB, more than the {LARGEST_BYTES // 2**20} MiB that a "
                "published table may have",
                where=str(path),
                hint="split it by model or device",
            )
        return path.read_bytes()
    except OSError as error:
        raise SessionError(f"cannot be read: {error.strerror}", where=str(path)) from None


def is_index(name: str) -> bool:
    """Whether a column is the index of a data frame that was saved along with the table."""
    return name.strip() == "" or name.startswith("Unnamed:") or name == "index"


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise SessionError(
            f"is no MELODI table: it lacks the columns {', '.join(missing)}",
            where=f"{path}:1",
            hint="the published columns are on docs/melodi.md; 'joulebench report SESSION --format melodi' writes them",
        )
    twice = sorted({name for name in header if not is_index(name) and header.count(name) > 1})
    if twice:
        raise SessionError(f"has the column {', '.join(twice)} more than once", where=f"{path}:1")


def _table(path: Path, data: bytes, header: list[str], records: Sequence[tuple[int, list[str]]]) -> PublishedTable:
    indices = [place for place, name in enumerate(header) if is_index(name)]
    unnamed: dict[int, list[str]] = {place: [] for place in indices}
    rows: list[PublishedRow] = []
    for line, fields in records:
        if len(fields) != len(header):
            raise _fault(f"has {len(fields)} fields where the header has {len(header)}", path, line)
        for place in indices:
            unnamed[place].append(fields[place])
        rows.append(_row(dict(zip(header, fields, strict=True)), path, line))
    if not rows:
        raise SessionError("has a header and no row", where=str(path))
    return PublishedTable(
        path.name,
        hashlib.sha256(data).hexdigest(),
        tuple(header),
        tuple((header[place], tuple(values)) for place, values in unnamed.items()),
        tuple(name for name in header if name not in PUBLISHED and not is_index(name)),
        tuple(rows),
    )


def _row(fields: Mapping[str, str], path: Path, line: int) -> PublishedRow:
    return PublishedRow(
        line,
        {name: _text(fields.get(name)) for name in TEXTS},
        {name: _time(name, fields.get(name), path, line) for name in TIMES},
        _clock(fields.get(CLOCK), path, line),
        {name: _number(name, fields[name], path, line) for name in NUMBERS if name in fields},
    )


def _text(value: str | None) -> str | None:
    return value or None


def _number(name: str, value: str, path: Path, line: int) -> float | None:
    if value.strip() in _NULLS:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _fault(f"column {name}: '{_short(value)}' is not a number", path, line)
    return number


def _time(name: str, value: str | None, path: Path, line: int) -> datetime | None:
    if value is None or value.strip() in _NULLS:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _fault(f"column {name}: '{_short(value)}' is no ISO 8601 time", path, line) from None


def _clock(value: str | None, path: Path, line: int) -> float | None:
    if value is None or value.strip() in _NULLS:
        return None
    span = _SPAN.fullmatch(value.strip())
    if span is None:
        return _number(CLOCK, value, path, line)
    days, hours, minutes = (int(part) for part in span.groups()[:3])
    return days * 86400 + hours * 3600 + minutes * 60 + float(span[4])


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:40]}…"


def _fault(what: str, path: Path, line: int) -> SessionError:
    return SessionError(what, where=f"{path}:{line}")
