from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import make_session
import pytest

from joulebench.api import Renderer
from joulebench.session import Session
from joulebench_reports import joulebench_renderers
from joulebench_reports.renderers import CsvRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.words.flags import FLAGS, explain
from joulebench_reports.words.text import with_interval

#: Pictures have tests of their own.
ALL = [renderer for renderer in joulebench_renderers() if renderer.suffix != ".svg"]


def text(renderer: type[Renderer], session: Session, **settings: int | bool) -> str:
    rendered = renderer().render(session, settings)
    assert isinstance(rendered, str)
    return rendered


@pytest.mark.parametrize("renderer", ALL, ids=lambda r: r.name)
def test_every_renderer_reports_poor_sessions(renderer: type[Renderer], poor_session: Session) -> None:
    rendered = text(renderer, poor_session)
    if renderer.name != "html":  # its chart runtime is a program that has the word
        assert not re.search(r"\bnan\b", rendered, re.IGNORECASE)
    for cell in poor_session.cell_ids:
        assert "cell a" in rendered, cell


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_of_the_terminal_report_exceeds_the_width(session: Session, width: int) -> None:
    lines = text(TerminalRenderer, session, width=width).splitlines()
    assert max(len(line) for line in lines) <= width


def test_the_terminal_report_says_what_energy_it_shows_and_why(session: Session) -> None:
    shown = " ".join(text(TerminalRenderer, session, width=100).split())
    assert "ESTIMATED (estimate/cpu" in shown
    assert "no energy sensor" in shown
    assert "J/token (est.)" in shown
    shown = " ".join(text(TerminalRenderer, session, width=100, verbose=True).split())
    assert "Fix: run on bare metal" in shown


def test_the_terminal_report_keeps_energy_and_speed_at_80_columns(session: Session) -> None:
    shown = text(TerminalRenderer, session, width=80)
    header = next(line for line in shown.splitlines() if line.startswith("cell"))
    assert "J/token" in header
    assert "tok/s" in header
    assert "TPOT" in text(TerminalRenderer, session, width=120)


def test_failed_and_skipped_cells_stand_with_their_cause(session: Session) -> None:
    for renderer in (TerminalRenderer, MarkdownRenderer):
        shown = text(renderer, session)
        assert "killed for memory" in shown
        assert "lacks capability train" in shown


def test_colour_is_written_only_when_asked_for(session: Session) -> None:
    assert "\x1b[" not in text(TerminalRenderer, session, width=80)
    assert "\x1b[" in text(TerminalRenderer, session, width=80, color=True)


@pytest.mark.parametrize("renderer", [TerminalRenderer, MarkdownRenderer, CsvRenderer])
def test_no_escape_sequence_of_a_strangers_reaches_a_text_report(
    renderer: type[Renderer], hostile_session: Session
) -> None:
    assert "\x1b" not in text(renderer, hostile_session)


def test_markdown_holds_no_markup_of_a_strangers(hostile_session: Session) -> None:
    shown = text(MarkdownRenderer, hostile_session)
    assert "<img" not in shown
    assert "</script" not in shown


def test_csv_has_a_row_per_cell_and_no_formula(hostile_session: Session) -> None:
    rows = list(csv.DictReader(io.StringIO(text(CsvRenderer, hostile_session))))
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[1]["label"] == "'=1+1"
    assert not any(v.startswith("=") for row in rows for v in row.values())


def test_csv_keeps_measured_and_estimated_apart(tmp_path: Path) -> None:
    cell = make_session.Cell("a", "a", energies={"estimated": 2.0, "measured": 1.0}, noise=0.0)
    session = Session(make_session.write(tmp_path / "s", [cell]))
    row = next(csv.DictReader(io.StringIO(text(CsvRenderer, session))))
    assert float(row["measured_gross_j_per_unit"]) == pytest.approx(0.5)
    assert float(row["estimated_gross_j_per_unit"]) == pytest.approx(1.0)
    assert row["simulated_gross_j_per_unit"] == ""


def test_csv_of_no_cells_is_a_header(tmp_path: Path) -> None:
    session = Session(make_session.write(tmp_path / "s", []))
    assert text(CsvRenderer, session).startswith("id,label,")


def test_json_gives_interval_provenance_and_reason(session: Session) -> None:
    document = json.loads(text(JsonRenderer, session))
    cell = document["cells"][0]
    assert cell["headline"]["provenance"] == "estimated"
    assert cell["headline"]["low"] < cell["headline"]["value"] < cell["headline"]["high"]
    assert document["cells"][2]["headline"] | {"value": None} == document["cells"][2]["headline"]
    assert document["cells"][2]["headline"]["reason_if_null"] == "killed for memory"


def test_known_flags_are_in_words_and_unknown_ones_as_they_are() -> None:
    assert "clock" in explain("throttled")
    assert explain("some_new_flag") == "some_new_flag"
    assert all(explain(name) != name for name in FLAGS)


def test_the_plugin_module_loads_nothing_heavy() -> None:
    code = (
        "import sys, joulebench_reports as r; r.joulebench_renderers();"
        "print([m for m in ('pyarrow','rich','vl_convert') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ((0.4998, 0.4923, 0.5073), "0.4998 ± 0.0075"),
        ((1.012, -7.5, 9.524), "1.0 ± 8.5"),
        ((0.0123, -8.5, 8.5246), "0.012 ± 8.512"),
        ((12.0, 11.0, 15.0), "12.0 [11.0, 15.0]"),
        ((12.0, None, None), "12.0"),
        ((None, None, None), "–"),
    ],
)
def test_a_figure_has_the_digits_that_its_interval_allows(
    figure: tuple[float | None, float | None, float | None], expected: str
) -> None:
    assert with_interval(*figure) == expected
