"""Sessions that a stranger wrote on purpose: whole files with right checksums and wrong contents."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import progress
import pyarrow as pa

from joulebench.cli import main
from joulebench.session import Session
from joulebench.session.conversion import table_of
from joulebench.session.files import write_table
from joulebench.session.schema import CELL_TABLES, SESSION
from joulebench.session.tables import CELL_ROWS, CellRow, TableRow
from joulebench.session.writing import SessionWriter

#: In place of any JSON value.
_WILD: tuple[Any, ...] = (
    *(None, True, -1, 10**30, 1e308, math.inf, "", "\x1b]0;pwned\x07", "x" * 10_000),
    *([], [[]], {}, {"cells": 1}),
)
_NUMBERS: tuple[float, ...] = (math.inf, -math.inf, math.nan, 1e308, -1e308, 1e59, 5e-324, -1.0, 0.0)
_TEXTS: tuple[str | None, ...] = (None, "", "\x1b[2J\u202e", "../../etc/passwd", "[", "{}", "[]", "5", '{"a": [1]}')
_FORMATS = ("terminal", "json", "csv", "markdown", "html", "jsonl")


def _wild_json(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """The value with one part of it replaced."""
    if depth > 4 or rng.random() < 0.25 or not value or not isinstance(value, dict | list):
        return rng.choice(_WILD)
    if isinstance(value, dict):
        name = rng.choice(list(value))
        return {**value, name: _wild_json(value[name], rng, depth + 1)}
    place = rng.randrange(len(value))
    return [*value[:place], _wild_json(value[place], rng, depth + 1), *value[place + 1 :]]


def _wild_value(value: Any, kind: pa.DataType, rng: random.Random) -> Any:
    if pa.types.is_floating(kind):
        return rng.choice(_NUMBERS)
    if pa.types.is_int32(kind):
        return rng.choice((None, -1, 0, 2**31 - 1, -(2**31)))
    if pa.types.is_int64(kind):
        return rng.choice((None, -1, 0, 2**63 - 1, -(2**63)))
    if pa.types.is_string(kind):
        return rng.choice(_TEXTS)
    return None if rng.random() < 0.5 else value


def _altered(row: TableRow, schema: pa.Schema, rng: random.Random, keep: tuple[str, ...] = ()) -> tuple[str, Any]:
    """A column and another value of it."""
    name = rng.choice([name for name in schema.names if name not in keep])
    value = getattr(row, name)
    if name.endswith("_json") and value and rng.random() < 0.8:
        return name, json.dumps(_wild_json(json.loads(value), rng))
    return name, _wild_value(value, schema.field(name).type, rng)


def make_hostile(session: Path, rng: random.Random) -> str:
    """Alter one value of the session, of a cell or of a table, and seal it again; says which."""
    opened, writer = Session(session), SessionWriter(session)
    row, where = opened.row, "session"
    table = rng.choice(("session", "cell", "blocks", "energy", "requests", "events"))
    cell_id = rng.choice(opened.cell_ids)
    [cell] = opened.rows(CellRow, cell_id)
    if table == "session":
        where, value = _altered(row, SESSION, rng)
        row = replace(row, **{where: value})
    elif table == "cell":
        where, value = _altered(cell, CELL_TABLES["cell"], rng, ("cell_id",))
        cell = replace(cell, **{where: value})
    else:
        kind = CELL_ROWS[table]
        rows: list[Any] = opened.rows(kind, cell_id)
        if rows:
            place = rng.randrange(len(rows))
            where, value = _altered(rows[place], CELL_TABLES[table], rng)
            rows[place] = replace(rows[place], **{where: value})
            write_table(session / "cells" / cell_id / f"{table}.arrow", table_of(rows, kind))
    writer.write_cell(cell)
    writer.write_session(row)
    return f"{table}: {where}"


def read_hostile(session: Path, rng: random.Random) -> tuple[str, str]:
    """How a command over the session ends: ``shown``, ``refused`` or ``traceback``; and its words."""
    command = rng.choice((["session", "verify"], *(["report", "--format", name] for name in _FORMATS)))
    output, errors = StringIO(), StringIO()
    code: object = 0
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            main([*command, str(session)])
    except SystemExit as end:
        code = end.code
    except Exception as error:
        return "traceback", f"{' '.join(command)}: {type(error).__name__}: {error}"
    if set("\x1b\x9b\x07\u202e") & set(errors.getvalue() + ("" if command[-1] in _FORMATS else output.getvalue())):
        return "raw", " ".join(command)
    return ("shown" if code == 0 else "refused"), errors.getvalue()


def try_hostile(pristine: Path, folder: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many hostile sessions, each from the pristine one; counts and what went wrong.

    ``unforeseen`` ends with an error that names a line of a report rather than a column.
    """
    import shutil

    rng = random.Random(seed)
    counts: Counter[str] = Counter(shown=0, refused=0, unforeseen=0, traceback=0, raw=0)
    wrong: list[str] = []
    session = folder / "session"
    for number in range(count):
        shutil.rmtree(session, ignore_errors=True)
        shutil.copytree(pristine, session)
        what = make_hostile(session, rng)
        outcome, words = read_hostile(session, rng)
        if "failed by a defect of" in words:
            outcome = "unforeseen"
        counts[outcome] += 1
        if outcome in ("traceback", "raw", "unforeseen"):
            wrong.append(f"{number}: {what}: {outcome}: {words}")
        progress.show("hostile sessions", number + 1, count, counts)
    return counts, wrong
