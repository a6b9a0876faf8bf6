"""Text of CSV files: no spreadsheet runs it as a formula, and no terminal or reader is steered by it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from joulebench_reports.words.text import visible

if TYPE_CHECKING:
    import pyarrow as pa

#: What begins a formula in a spreadsheet (OWASP, "CSV Injection"); carriage returns are no text.
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\n")

_Value = TypeVar("_Value")


def inert(value: _Value) -> _Value | str:
    """The value; a text without control characters, and with an apostrophe before a formula."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows under these names; what a row has beside them is left out, what it lacks is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([inert(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def inert_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts by :func:`inert`; each distinct text is looked at once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.unique(column)
    safe = pa.array([None if text is None else inert(text) for text in texts.to_pylist()], pa.string())
    return pa.chunked_array([pc.take(safe, pc.index_in(chunk, texts)) for chunk in column.chunks], pa.string())
