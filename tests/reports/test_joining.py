"""Several sessions in one report: nothing merged, every cell under its session's name."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import make_session
import pytest

from joulebench.errors import JoulebenchError, UnavailableError
from joulebench.session import Session
from joulebench.session.places import open_sessions
from joulebench_reports.melodi.renderers import MelodiRenderer
from joulebench_reports.renderers import (
    CsvRenderer,
    HtmlRenderer,
    JsonLinesRenderer,
    JsonRenderer,
    MarkdownRenderer,
    TerminalRenderer,
)
from joulebench_reports.summary.joining import join


def machine(name: str) -> str:
    return json.dumps({"cpu": {"model": name, "threads": 4}, "memory_bytes": 2**30})


def session(path: Path, provenance: str = "estimated", **columns: str) -> Session:
    cells = [
        make_session.Cell("a", "torch", energies={provenance: 1.0}),
        make_session.Cell("b", "int8", energies={provenance: 0.5}, joules_per_token=0.25),
    ]
    return Session(make_session.write(path, cells, **columns))


@pytest.fixture
def both(tmp_path: Path) -> list[Session]:
    """Two machines, one measured and one estimated."""
    return [
        session(tmp_path / "lab", "measured", machine_json=machine("Lab CPU")),
        session(tmp_path / "laptop", machine_json=machine("Laptop CPU")),
    ]


def test_labels_begin_with_the_machine_where_that_tells_sessions_apart(both: list[Session]) -> None:
    summary, _ = join(both)
    assert [cell.label for cell in summary.cells] == [
        "Lab CPU · torch",
        "Lab CPU · int8",
        "Laptop CPU · torch",
        "Laptop CPU · int8",
    ]
    assert len({cell.id for cell in summary.cells}) == 4


def test_sessions_of_one_machine_have_short_names(tmp_path: Path) -> None:
    """What tells them apart must not be what a label cuts off."""
    stamps = ["2026-11-28T12-25-38Z-quick", "2026-11-29T12-25-38Z-quick"]
    alike = [session(tmp_path / f"x{place}", session_id=stamp) for place, stamp in enumerate(stamps)]
    assert [part.name for part in join(alike)[0].parts] == ["quick#1", "quick#2"]
    named = [session(tmp_path / word, session_id=f"2026-11-28T12-25-38Z-{word}") for word in ("before", "after")]
    assert [part.name for part in join(named)[0].parts] == ["before", "after"]


def test_labels_begin_with_the_session_on_one_machine(tmp_path: Path) -> None:
    summary, _ = join([session(tmp_path / "monday"), session(tmp_path / "tuesday")])
    assert [cell.session for cell in summary.cells] == ["monday", "monday", "tuesday", "tuesday"]


def test_three_machines_with_one_name_are_numbered(tmp_path: Path) -> None:
    result = [session(tmp_path / place, session_id="quick") for place in ("a", "b", "c")]
    assert {cell.session for cell in join(result)[0].cells} == {"quick#1", "quick#2", "quick#3"}


def test_verdicts_are_of_one_session_each(both: list[Session]) -> None:
    summary, _ = join(both)
    assert [(table.baseline, [verdict.label for verdict in table.verdicts]) for table in summary.verdicts] == [
        ("Lab CPU · torch", ["Lab CPU · int8"]),
        ("Laptop CPU · torch", ["Laptop CPU · int8"]),
    ]
    assert {verdict.provenance for table in summary.verdicts for verdict in table.verdicts} == {"measured", "estimated"}


def test_a_baseline_is_looked_up_in_each_session(both: list[Session]) -> None:
    assert [table.baseline for table in join(both, "int8")[0].verdicts] == ["Lab CPU · int8", "Laptop CPU · int8"]
    with pytest.raises(JoulebenchError, match="no cell is named 'int9'"):
        join(both, "int9")


def test_the_sources_lead_back_to_each_cell(both: list[Session]) -> None:
    summary, sources = join(both)
    for cell, (here, own) in zip(
        summary.cells, [(both[0], "a"), (both[0], "b"), (both[1], "a"), (both[1], "b")], strict=True
    ):
        assert sources.of(cell) == (here, own)


def test_the_text_reports_name_every_session_and_cell(both: list[Session]) -> None:
    for renderer in (TerminalRenderer, MarkdownRenderer):
        shown = " ".join(str(renderer().render_many(both, {"width": 200})).split())
        for text in ("Lab CPU", "Laptop CPU", "MEASURED", "ESTIMATED"):
            assert text in shown


def test_csv_and_lines_say_whose_row_it_is(both: list[Session]) -> None:
    rows = list(csv.DictReader(io.StringIO(CsvRenderer().render_many(both, {}))))
    assert [row["session"] for row in rows] == ["lab", "lab", "laptop", "laptop"]
    assert "Lab CPU" in rows[0]["machine"]
    assert [row["energy_provenance"] for row in rows] == ["measured"] * 2 + ["estimated"] * 2
    lines = [json.loads(line) for line in JsonLinesRenderer().render_many(both, {}).splitlines()]
    assert [line["session"] for line in lines] == ["lab", "lab", "laptop", "laptop"]


def test_json_holds_each_session_by_itself(both: list[Session]) -> None:
    document = json.loads(JsonRenderer().render_many(both, {}))
    assert document["format"] == "joulebench-summaries"
    assert [len(session["cells"]) for session in document["sessions"]] == [2, 2]


def test_the_page_keeps_provenances_and_machines_apart(both: list[Session]) -> None:
    page = HtmlRenderer().render_many(both, {"charts": False})
    assert "Energy per unit of work, J/token – measured" in page
    assert "Energy per unit of work, J/token – estimated" in page
    assert 'id="sessions"' in page
    assert "Lab CPU · torch" in page


def test_a_report_of_one_session_alone_refuses_two_in_words(both: list[Session]) -> None:
    with pytest.raises(UnavailableError, match="'melodi' report is of one session, not of 2"):
        MelodiRenderer().render_many(both, {})


def test_probes_that_differ_bear_their_sessions_name(tmp_path: Path) -> None:
    absent = make_session.RAPL_ABSENT
    rows = [
        Session(make_session.write(tmp_path / "a", [make_session.Cell("a", "a")], probes=[absent])),
        Session(make_session.write(tmp_path / "b", [make_session.Cell("a", "a")], probes=[])),
    ]
    assert [probe.probe for probe in join(rows)[0].probes] == ["estimate", "a · rapl"]


def test_a_copy_of_a_session_is_counted_once(tmp_path: Path) -> None:
    one = make_session.write(tmp_path / "lab" / "one", [make_session.Cell("a", "a", blocks=3)])
    shutil.copytree(one, tmp_path / "lab" / "two")
    other = make_session.write(tmp_path / "other", [make_session.Cell("a", "a", blocks=3)])
    said: list[str] = []
    opened = open_sessions([str(tmp_path / "lab"), str(other)], said.append)
    assert [session.path.name for session in opened] == ["one", "other"]
    assert [text.partition(" (")[0].rpartition("/")[2] for text in said] == ["one"]
