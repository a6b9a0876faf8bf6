"""Arrow files on disk: written whole or not at all, read with every number looked at.

A table in progress is ``NAME.arrow.part`` (Arrow IPC *stream*: whatever batch is complete can be
read, also after ``kill -9``). When its cell ends it becomes ``NAME.arrow`` (Arrow IPC *file*, LZ4)
by an atomic rename, which pyarrow, Polars, DuckDB and pandas read by themselves.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc

from joulebench.errors import SessionError
from joulebench.session.tables import FIRST_SEALED_MINOR, SCHEMA_VERSION

PART: Final = ".part"
#: Key in the metadata of a table of one row: SHA-256 over the row.
ROW_DIGEST: Final = b"joulebench_row_sha256"
SESSION_FILE: Final = "session.arrow"
ALTERED_HINT: Final = "take it from a copy; 'joulebench report --cell NAME' shows cells that are whole"
#: Rows of a batch in a final file: what a reader that goes batch by batch has in memory at once.
_BATCH_ROWS: Final = 1 << 18
#: No energy, time or count of a session comes near; squares and products of such are still finite.
_LARGEST_FLOAT: Final = 1e60
_LARGEST_INT: Final = 1 << 62
#: Microseconds since 1970 at the end of the year 9999, the last that Python's dates know.
_LARGEST_UTC_US: Final = 253_402_300_799_999_999
#: Before the SHA-256 of a sealed file; with it 40 bytes, so that the footer stays aligned.
_SEAL_MARK: Final = b"JB\x00SEAL\x00"
#: At the end of an Arrow file: the length of its footer and the magic word.
_TAIL_BYTES: Final = 10
#: A file of no more bytes is read at once, by one thread.
_FEW_BYTES: Final = 1 << 20
_UTC_US: Final = pa.timestamp("us", tz="UTC")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Rows that are looked at one by one.
_FEW_ROWS: Final = 4096
#: Readings as the device gave them may fill all 64 bits.
_RAW: Final = "raw"


def part_of(final: Path) -> Path:
    """The stream of a table that is not final yet."""
    return final.with_name(final.name + PART)


def is_plain_folder(path: Path) -> bool:
    """A folder, and no link to one."""
    return stat.S_ISDIR(_mode_of(path))


def is_plain_file(path: Path) -> bool:
    """A regular file: no link, and nothing that could block its reader (a FIFO, a device)."""
    return stat.S_ISREG(_mode_of(path))


def _mode_of(path: Path) -> int:
    """Of the path itself, not of what a link leads to; 0 where there is nothing."""
    try:
        return os.lstat(path).st_mode
    except (OSError, ValueError):
        return 0


def conform(batch: pa.RecordBatch, schema: pa.Schema, where: Path) -> pa.RecordBatch:
    """The batch under this schema's metadata; refused where its columns are others."""
    if not batch.schema.equals(schema):
        raise SessionError(
            "was written by another version of joulebench",
            where=str(where),
            hint="resume with the version that began the session, or start a new one",
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


@dataclass(frozen=True, slots=True)
class StreamContent:
    """The whole batches of a stream, and whether anything that cannot be read follows them."""

    batches: list[pa.RecordBatch]
    unread: str | None

    @property
    def rows(self) -> int:
        """Rows of all whole batches."""
        return sum(batch.num_rows for batch in self.batches)

    def table(self) -> pa.Table:
        """The batches as one table; without columns if there are none."""
        return pa.Table.from_batches(self.batches) if self.batches else pa.table({})


def read_part(part: Path) -> StreamContent:
    """What of a stream's file can be read."""
    with part.open("rb") as source:
        return read_stream(source)


def read_stream(source: Any) -> StreamContent:
    """The complete batches of a stream that may end anywhere."""
    batches: list[pa.RecordBatch] = []
    try:
        reader = pa.ipc.open_stream(source)
        while True:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            batches.append(batch)
    except StopIteration:
        return StreamContent(batches, None)
    except (pa.ArrowException, OSError, EOFError) as error:
        return StreamContent(batches, str(error) or type(error).__name__)


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


def read_file(path: Path) -> pa.Table:
    """The table of an Arrow file; raises :class:`SessionError` where it is none."""
    if not path.is_file():
        raise SessionError("is not a regular file: not read", where=str(path))
    return decode(content_of(path), str(path))


def content_of(path: Path) -> pa.Buffer:
    """The bytes of a file: in memory where they are few, else mapped. Raises :class:`SessionError`."""
    try:
        if path.stat().st_size <= _FEW_BYTES:
            return pa.py_buffer(path.read_bytes())
        with pa.memory_map(str(path)) as source:
            return source.read_buffer()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(error, str(path)) from None


def write_sealed(final: Path, table: pa.Table) -> None:
    """Write an Arrow file with a SHA-256 of its bytes between its batches and its footer.

    Readers find batches and footer by their offsets and pass over it. It is looked at before Arrow
    decodes anything: a damaged schema can end Arrow's decoder, and the process, by SIGSEGV.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table.combine_chunks())
    content = sink.getvalue().to_pybytes()
    footer = len(content) - _TAIL_BYTES - int.from_bytes(content[-_TAIL_BYTES : -_TAIL_BYTES + 4], "little")
    seal = _SEAL_MARK + hashlib.sha256(content).digest()
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content[:footer] + seal + content[footer:])
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(final)


def read_sealed(path: Path) -> pa.Table:
    """The table of a file by :func:`write_sealed`, or of one from before there were seals."""
    return decode_sealed(content_of(path), str(path))


def decode_sealed(buffer: pa.Buffer, where: str) -> pa.Table:
    """The table in these bytes. Raises :class:`SessionError` where they are not what was sealed."""
    content = buffer.to_pybytes()
    place = content.rfind(_SEAL_MARK)
    end = place + len(_SEAL_MARK) + hashlib.sha256().digest_size
    if (
        place >= 0
        and hashlib.sha256(content[:place] + content[end:]).digest() != content[place + len(_SEAL_MARK) : end]
    ):
        raise altered(where)
    return decode(buffer, where)


def decode(content: pa.Buffer, where: str) -> pa.Table:
    """The table of an Arrow file. Raises :class:`SessionError` where it is none, or damaged."""
    try:
        table = _decoded(content)
        # Arrow trusts the offsets in a file; a damaged one would be read out of bounds.
        table.validate(full=True)
        _ = table.column_names, table.schema.metadata  # decoded only now
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(error, where) from None
    return table


def _decoded(content: pa.Buffer) -> pa.Table:
    if content.size > _FEW_BYTES:
        return pa.ipc.open_file(content).read_all()
    # Threads would take longer to start than a small file takes to decode.
    reader = pa.ipc.open_file(content, options=pa.ipc.IpcReadOptions(use_threads=False))
    batches = [reader.get_batch(place) for place in range(reader.num_record_batches)]
    return pa.Table.from_batches(batches, schema=reader.schema)


def unreadable(error: Exception, where: str) -> SessionError:
    """What to say of a file that is no Arrow file, or a damaged one."""
    return SessionError(
        f"not a readable Arrow file ({error})",
        where=where,
        hint="'joulebench session verify' lists what is damaged, 'recover' saves the rest",
    )


def scan_file(source: Any, columns: Sequence[str], schema: pa.Schema, where: str) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file with these columns alone; only they are decompressed."""
    try:
        names = pa.ipc.open_file(source).schema.names
        here = [names.index(name) for name in columns if name in names]
        if hasattr(source, "seek"):
            source.seek(0)
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=here))
        for place in range(reader.num_record_batches):
            batch = reader.get_batch(place)
            batch.validate(full=True)
            table = as_now(pa.Table.from_batches([batch]), part_of_schema(schema, columns), where)
            yield from table.to_batches()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(error, where) from None


def part_of_schema(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """The schema of these columns alone."""
    return pa.schema([schema.field(name) for name in columns])


def as_now(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """The columns of this version's schema: what an older one did not write is null.

    Raises :class:`SessionError` where a column has another type or holds what is not a figure.
    """
    columns: list[pa.Array | pa.ChunkedArray] = []
    for field in schema:
        index = table.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(index)
        if not column.type.equals(field.type):
            chunks = [_of_kind(chunk, field.type, field.name, where) for chunk in column.chunks]
            column = pa.chunked_array(chunks, field.type)
        _check_range(field.name, column, where)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def _of_kind(array: pa.Array, kind: pa.DataType, name: str, where: str) -> pa.Array:
    """An array as this version's type: what an older one did not write within a struct is null.

    It goes through Python's values: only tables of one row have structs.
    """
    try:
        if pa.types.is_nested(kind) and pa.types.is_nested(array.type):
            return pa.array(array.to_pylist(), kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    raise SessionError(f"column {name} is of another type", where=where)


def _check_range(name: str, column: pa.ChunkedArray, where: str) -> None:
    """Refuse numbers that no measurement gives; sums of such would end a report with a traceback."""
    kind = column.type
    if name == _RAW or not len(column):
        return
    if pa.types.is_floating(kind):
        limit: float = _LARGEST_FLOAT
    elif pa.types.is_int64(kind):
        limit = _LARGEST_INT
    elif pa.types.is_timestamp(kind):
        limit, column = _LARGEST_UTC_US, pa.chunked_array([chunk.view(pa.int64()) for chunk in column.chunks])
    else:
        return
    if not all(-limit <= value <= limit for value in _extremes(column)):  # so is no NaN
        raise SessionError(f"column {name} holds a number that no measurement gives", where=where)


def _extremes(column: pa.ChunkedArray) -> list[Any]:
    """Values among which the least and the largest are, and a NaN if there is any."""
    if len(column) <= _FEW_ROWS:
        return [value for value in column.to_pylist() if value is not None]
    # Only here: it costs the parent of a run 5 MB.
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
        return [math.nan]
    ends = pc.min_max(column).as_py()
    return [value for value in ends.values() if value is not None]


# -- checksums ----------------------------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(content: pa.Buffer) -> str:
    """SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(memoryview(content)).hexdigest()


def column_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; times without Arrow's own way, which imports pandas wherever it is installed."""
    if not column.type.equals(_UTC_US):
        values: list[Any] = column.to_pylist()
        return values
    counts = [count for chunk in column.chunks for count in chunk.view(pa.int64()).to_pylist()]
    return [None if count is None else _EPOCH + timedelta(microseconds=count) for count in counts]


def row_digest(row: Mapping[str, Any]) -> str:
    """SHA-256 over the values of a one-row table, columns by name; independent of Arrow's layout."""
    known = {name: value for name, value in row.items() if value is not None}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def check_row_seal(table: pa.Table, where: str) -> None:
    """Hold the row of a one-row table against the checksum in its own metadata.

    Tables of joulebench before schema 1.3 have none. Raises :class:`SessionError`.
    """
    if table.num_rows != 1:
        raise SessionError(f"{where.rpartition('/')[2]} must have one row", where=where)
    try:
        digest = row_digest({name: column_values(table.column(name))[0] for name in table.column_names})
    except (pa.ArrowException, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise unreadable(error, where) from None
    metadata = table.schema.metadata or {}
    stated = metadata.get(ROW_DIGEST)
    if stated is None and _minor(metadata) >= FIRST_SEALED_MINOR:
        raise SessionError("has lost its checksum", where=where, hint=ALTERED_HINT)
    if stated is not None and stated != digest.encode():
        raise altered(where)


def altered(where: str) -> SessionError:
    """What to say of a file that is another than the run wrote."""
    return SessionError("is not what the run wrote: its checksum differs", where=where, hint=ALTERED_HINT)


def _minor(metadata: Mapping[bytes, bytes]) -> int:
    text = metadata.get(b"joulebench_schema_minor", b"0")
    return int(text) if text.isdigit() and len(text) < 9 else 0


def check_version(table: pa.Table, where: str) -> None:
    """Refuse what is no session's table, or one of a newer joulebench."""
    stated = (table.schema.metadata or {}).get(b"joulebench_schema")
    if stated is None or "schema_version" not in table.column_names:
        raise SessionError("this Arrow file is not a joulebench session", where=where)
    version = int(stated) if stated.isdigit() and len(stated) < 9 else 0
    if version < 1:
        raise SessionError(f"states the schema version {stated!r}", where=where)
    if version > SCHEMA_VERSION:
        raise SessionError(
            f"written with session schema {version}; this joulebench reads up to {SCHEMA_VERSION}",
            where=where,
            hint="upgrade: pip install --upgrade joulebench",
        )
