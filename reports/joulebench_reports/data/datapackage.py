"""Arrow tables as CSV can hold them, and the description that says what their columns mean.

The description is a Data Package (Frictionless Data, "Data Package" and "Table Schema", version 1):
``datapackage.json`` names each file, and the type, meaning and unit of each column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from joulebench_reports.data.spreadsheet import inert_column

if TYPE_CHECKING:
    import pyarrow as pa


def writable_schema(schema: pa.Schema) -> pa.Schema:
    """The columns with lists, structs, dictionaries and times as text."""
    import pyarrow as pa

    def flat(field: pa.Field) -> pa.Field:
        kind = field.type
        plain = not (pa.types.is_nested(kind) or pa.types.is_dictionary(kind) or pa.types.is_timestamp(kind))
        return field if plain else field.with_type(pa.string())

    return pa.schema([flat(field) for field in schema])


def as_csv(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the form of :func:`writable_schema`, no text of it a formula."""
    import pyarrow as pa

    columns = [_flat(table.column(field.name), field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _flat(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind) or pa.types.is_timestamp(kind):
        column = column.cast(pa.string())
    elif pa.types.is_list(kind) and not pa.types.is_nested(kind.value_type):
        column = _joined(column)
    elif pa.types.is_nested(kind):
        # Structs stand in the tables of sessions and cells alone: a few rows.
        column = _as_json(column)
    return inert_column(column) if pa.types.is_string(column.type) else column.cast(field.type)


def _joined(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A list as its values with a space between them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join(column.cast(pa.list_(pa.string())), " ")


def _as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


_TYPES: Final = (("is_integer", "integer"), ("is_floating", "number"), ("is_boolean", "boolean"))


def data_package(schemas: Mapping[str, pa.Schema]) -> Mapping[str, object]:
    """The description of a folder of CSV files."""
    return {
        "profile": "tabular-data-package",
        "name": "joulebench-session",
        "resources": [
            {
                "name": name,
                "path": f"{name}.csv",
                "profile": "tabular-data-resource",
                "format": "csv",
                "encoding": "utf-8",
                "schema": {"fields": [_field(field) for field in schema], "missingValues": [""]},
            }
            for name, schema in schemas.items()
        ],
    }


def _field(field: pa.Field) -> dict[str, object]:
    import pyarrow as pa

    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    kind = next((word for test, word in _TYPES if getattr(pa.types, test)(field.type)), "string")
    described: dict[str, object] = {"name": field.name, "type": kind}
    if "doc" in metadata:
        described["description"] = metadata["doc"]
    if "unit" in metadata:
        described["unit"] = metadata["unit"]
    return described
