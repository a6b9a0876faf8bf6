"""The JSON report is a declared format: a schema, a version, and a golden document."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import make_session
import technique_sessions
from make_session import Cell

from joulebench.session import Session
from joulebench_reports.data.jsonformat import FORMAT, FORMAT_VERSION, RECORDS, schema
from joulebench_reports.data.jsonreport import JsonRenderer

GOLDEN = Path(__file__).parent / "golden" / "report.json"


def report(session: Session) -> Any:
    return json.loads(JsonRenderer().render(session, {}))


def rounded(value: Any) -> Any:
    """The document with numbers of nine digits: the last bits differ from machine to machine."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def golden_session(folder: Path) -> Session:
    """A baseline, a cheaper cell with an agreement record, and one that failed."""
    cells = [
        Cell("a", "torch f32", processes=3, blocks=6),
        Cell("b", "torch int8", processes=3, blocks=6, joules_per_token=0.25, backend_settings={"dtype": "int8"}),
        Cell("f", "torch sparse", status="failed", cause="killed for memory"),
    ]
    return Session(make_session.write(folder / "golden", cells))


def test_the_report_is_the_golden_document(tmp_path: Path) -> None:
    assert rounded(report(golden_session(tmp_path))) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_every_report_keeps_the_schema(
    session: Session, poor_session: Session, hostile_session: Session, tmp_path: Path
) -> None:
    checker = jsonschema.Draft202012Validator(schema())
    compressed = technique_sessions.usual(tmp_path / "compressed")
    for each in (session, poor_session, hostile_session, compressed):
        checker.validate(report(each))


def test_the_schema_refuses_what_is_not_declared(session: Session) -> None:
    checker = jsonschema.Draft202012Validator(schema())
    for change in ({"more": 1}, {"format_version": FORMAT_VERSION + 1}, {"cells": None}):
        assert not checker.is_valid(report(session) | change)
    assert checker.is_valid(report(session))


def test_the_schema_is_published_and_every_record_is_used() -> None:
    published = Path(__file__).parents[2] / "docs" / "report.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == schema()
    named = json.dumps(schema())
    assert [name for name in RECORDS if name != "report" and f"#/$defs/{name}" not in named] == []


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    cell = Cell("a", "a", perplexity=math.inf)
    document = report(Session(make_session.write(tmp_path / "s", [cell])))
    assert (document["format"], document["format_version"]) == (FORMAT, FORMAT_VERSION)
    assert document["cells"][0]["quality"]["perplexity"] is None


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(rounded(report(golden_session(Path(folder)))), indent=1, ensure_ascii=False)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
