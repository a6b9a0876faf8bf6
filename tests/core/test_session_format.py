"""The format on disk: what a session of yesterday was written with, and a reader elsewhere relies on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from joulebench.session.schema import CELL_TABLES, SESSION
from joulebench.session.tables import SCHEMA_MINOR, SCHEMA_VERSION

_COLUMNS = Path(__file__).with_name("session_columns.txt")


def _lines(prefix: str, fields: pa.Schema | pa.StructType) -> Iterator[str]:
    """Every column with its type and unit, those inside of structs too."""
    for field in fields:
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        kind = field.type.value_type if pa.types.is_list(field.type) else field.type
        shown = str(field.type).replace(str(kind), "struct") if pa.types.is_struct(kind) else str(field.type)
        yield f"{prefix}.{field.name}: {shown} {'' if field.nullable else 'required '}{unit}".rstrip()
        if pa.types.is_struct(kind):
            yield from _lines(f"{prefix}.{field.name}", kind)


def test_columns_types_and_units_are_those_of_the_format_on_disk() -> None:
    """A line more is a minor version, which is raised with it; any other change is a new format."""
    tables = {"session": SESSION, **CELL_TABLES}
    lines = [f"format {SCHEMA_VERSION}.{SCHEMA_MINOR}"]
    for name, schema in tables.items():
        lines += _lines(name, schema)
    assert lines == _COLUMNS.read_text(encoding="utf-8").splitlines()
