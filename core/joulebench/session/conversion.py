"""Rows of a session's tables to Arrow and back: the one maker of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import pyarrow as pa

from joulebench.errors import SessionError
from joulebench.session.files import column_values
from joulebench.session.schema import file_schema
from joulebench.session.tables import ColumnType, TableRow, columns_of

R = TypeVar("R", bound=TableRow)
T = TypeVar("T")


def table_of(rows: Sequence[R], table: type[R]) -> pa.Table:
    """The rows as a table. Raises ``ValueError`` for a row of another table, or a value that does not fit."""
    schema = file_schema(table)
    strangers = {type(row).__name__ for row in rows if not isinstance(row, table)}
    if strangers:
        raise ValueError(f"{', '.join(sorted(strangers))} is no row of this table")
    try:
        arrays = [pa.array([_plain(getattr(row, field.name)) for row in rows], field.type) for field in schema]
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise ValueError(f"a row does not fit its table: {error}") from None
    return pa.Table.from_arrays(arrays, schema=schema)


def _plain(value: Any) -> Any:
    """A value as Arrow takes it: rows within a row are mappings."""
    if isinstance(value, TableRow):
        return {column.name: _plain(getattr(value, column.name)) for column in columns_of(type(value))}
    if isinstance(value, tuple) and value and isinstance(value[0], TableRow):
        return [_plain(item) for item in value]
    return value


def rows_of(table: pa.Table, kind: type[R], where: str) -> list[R]:
    """The rows of a table (or of some of its columns), as this version's class of rows.

    Columns that the class lacks are passed over, those that the table lacks are unknown. Raises
    :class:`SessionError` with the table's place where what must be known is null.
    """
    columns = [column for column in columns_of(kind) if column.name in table.column_names]
    names = [column.name for column in columns]
    try:
        values = [[_value(column, value) for value in column_values(table.column(column.name))] for column in columns]
    except ValueError as error:
        raise SessionError(str(error), where=where) from None
    return [kind(**dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]


def known(value: T | None, column: str, where: str) -> T:
    """What every run writes in a column. Raises :class:`SessionError` where it is null."""
    if value is None:
        raise SessionError(f"column {column} is null", where=where, hint="no run writes that")
    return value


def _value(column: ColumnType, value: Any) -> Any:
    if value is None:
        if column.known:
            raise ValueError(f"column {column.name} is null")
        return None
    if column.many:
        return tuple(_item(column.kind, item) for item in value) if issubclass(column.kind, TableRow) else tuple(value)
    return _item(column.kind, value)


def _item(kind: type, value: Any) -> Any:
    """A value of a column, or a row within the row, read as its table is: by the fields of this version."""
    if not issubclass(kind, TableRow):
        return value
    return kind(**{column.name: _value(column, value.get(column.name)) for column in columns_of(kind)})
