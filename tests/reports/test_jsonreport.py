"""JSON documents are declared formats: a schema, a version, and golden documents."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import make_session
import pytest
import technique_sessions
from make_session import Cell

from joulebench.session import Session
from joulebench_reports.compare.changes import compare_sides
from joulebench_reports.compare.jsoncomparison import COMPARISON, comparison_json
from joulebench_reports.compare.sessions import side_of
from joulebench_reports.data.jsonadvice import ADVICE, advice_json
from joulebench_reports.data.jsonformat import RECORDS, REPORT, Format
from joulebench_reports.judging.advice import advise
from joulebench_reports.judging.workgroups import SessionWork
from joulebench_reports.melodi.analysis import analyse
from joulebench_reports.melodi.analysisreport import ANALYSIS
from joulebench_reports.renderers import JsonRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.pareto import OBJECTIVES

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs"
FORMATS = {"report": REPORT, "comparison": COMPARISON, "advice": ADVICE, "analysis": ANALYSIS}


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


def comparison(before: Session, folder: Path) -> Any:
    """The golden session against one in which a cell needs more energy, one failed and one is new."""
    cells = [
        Cell("a", "torch f32", processes=3, blocks=6, joules_per_token=0.7),
        Cell("b", "torch int8", status="failed", cause="no memory", backend_settings={"dtype": "int8"}),
        Cell("n", "onnx", backend="onnx", blocks=6),
    ]
    later = Session(make_session.write(folder / "later", cells, versions_json='{"torch": "2.14.0"}'))
    return json.loads(comparison_json(compare_sides(side_of(before), side_of(later))))


def advice(session: Session) -> Any:
    return json.loads(
        advice_json(advise(SessionWork(session), summarise(session).shown, "energy", (), 0.05, OBJECTIVES))
    )


def analysis(session: Session) -> Any:
    return json.loads(ANALYSIS.text(analyse(session)))


def golden_documents(folder: Path) -> dict[str, Any]:
    session = golden_session(folder)
    return {"report": report(session), "comparison": comparison(session, folder), "advice": advice(session)}


@pytest.mark.parametrize("name", ["report", "comparison", "advice"])
def test_a_document_is_the_golden_one(tmp_path: Path, name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert rounded(golden_documents(tmp_path)[name]) == golden


def test_every_report_keeps_the_schema(
    session: Session, poor_session: Session, hostile_session: Session, tmp_path: Path
) -> None:
    compressed = technique_sessions.usual(tmp_path / "compressed")
    for item in (session, poor_session, hostile_session, compressed):
        jsonschema.Draft202012Validator(REPORT.schema()).validate(report(item))
        jsonschema.Draft202012Validator(ADVICE.schema()).validate(advice(item))
        jsonschema.Draft202012Validator(ANALYSIS.schema()).validate(analysis(item))
    jsonschema.Draft202012Validator(COMPARISON.schema()).validate(comparison(session, tmp_path))


def test_the_schema_refuses_what_is_not_declared(session: Session) -> None:
    checker = jsonschema.Draft202012Validator(REPORT.schema())
    for change in ({"more": 1}, {"format_version": REPORT.version + 1}, {"cells": None}):
        assert not checker.is_valid(report(session) | change)
    assert checker.is_valid(report(session))


@pytest.mark.parametrize("name", FORMATS)
def test_a_schema_is_published_and_every_record_is_used(name: str) -> None:
    declared: Format = FORMATS[name]
    published = json.loads((DOCS / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert published == declared.schema()
    assert set(declared.records) - set(RECORDS) <= set(declared.used())
    assert set(RECORDS) == set(REPORT.used())


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    cell = Cell("a", "a", perplexity=math.inf)
    document = report(Session(make_session.write(tmp_path / "s", [cell])))
    assert (document["format"], document["format_version"]) == (REPORT.name, REPORT.version)
    assert document["cells"][0]["quality"]["perplexity"] is None


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, document in golden_documents(Path(folder)).items():
            text = json.dumps(rounded(document), indent=1, ensure_ascii=False)
            (GOLDEN / f"{name}.json").write_text(text + "\n", encoding="utf-8")
