"""The comparison with the reference stands in every report, and a disagreement cannot be missed."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_session
import pytest

from joulebench.agreement import Comparison, Divergence, Forced, agreement_record, verdict
from joulebench.session import Session
from joulebench_reports.renderers import CsvRenderer, HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.values.agreement import read_agreement

ABOUT = {
    "label": "torch float32",
    "backend": "torch",
    "device": "cpu",
    "dtype": "float32",
    "prompts": "builtin:short",
    "random_prompts": False,
    "smallest_gap": 0.01,
}
FORCED = Forced(512, 512, 3.2e-10, 8e-10, 100.0, 100.0)
TIE = Divergence(2, 30, 284, 260, 0.0011, 0.0023, " the", " a")
REAL = Divergence(5, 3, 284, 260, 1.25, 0.0023, " the", " a")
AGREES, PARTS = "512/512", "at token 4 of answer 6"


def record(
    *divergences: Divergence, forced: Forced | None = FORCED, held: bool = True, text: float | None = None
) -> dict[str, Any]:
    record = agreement_record(ABOUT, Comparison(8, 64, divergences, forced), None)
    record = replace(record, held=held, text_perplexity_ratio=text)
    return replace(record, disagrees=verdict(record) if held else ()).to_json()


def unknown(reason: str) -> dict[str, Any]:
    return agreement_record(ABOUT, None, reason).to_json()


def session(tmp_path: Path, **agreements: dict[str, Any] | None) -> Session:
    cells = [
        make_session.Cell(
            name,
            name,
            agreement=agreement,
            blocks=3,
            cell_flags=["disagrees"] if agreement and agreement["disagrees"] else [],
        )
        for name, agreement in agreements.items()
    ]
    return Session(make_session.write(tmp_path / "session", cells))


def terminal(session: Session, width: int = 160) -> str:
    return TerminalRenderer().render(session, {"width": width})


def table_row(session: Session, name: str) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(CsvRenderer().render(session, {})))
    return next(row for row in rows if row["label"] == name)


TEXT = {
    "terminal": terminal,
    "narrow terminal": lambda item: terminal(item, 60),
    "markdown": lambda item: MarkdownRenderer().render(item, {}),
    "csv": lambda item: CsvRenderer().render(item, {}),
    "json": lambda item: JsonRenderer().render(item, {}),
    "html": lambda item: HtmlRenderer().render(item, {"charts": False}),
}


def read(name: str, session: Session) -> str:
    text = TEXT[name](session)  # type: ignore[operator]
    return " ".join((text.decode() if isinstance(text, bytes) else text).split())


@pytest.mark.parametrize("report", TEXT)
def test_a_disagreement_is_in_every_report(tmp_path: Path, report: str) -> None:
    text = read(report, session(tmp_path, fine=record(), wrong=record(REAL)))
    assert "disagrees" in text
    assert "parted from the reference beyond a tie" in text
    if report not in ("csv", "json"):
        assert "NO 451/512" in text
        assert "wrong DISAGREES with the reference" in text


@pytest.mark.parametrize("report", ["terminal", "markdown", "html"])
def test_agreement_stands_as_tokens_divergence_and_perplexity(tmp_path: Path, report: str) -> None:
    text = read(report, session(tmp_path, fine=record(text=1.0002)))
    assert AGREES in text
    assert "3.2e-10" in text
    assert "+0.02 %" in text
    assert "DISAGREES" not in text
    words = "torch float32 [cpu], computing in float32; 8 × 64 tokens, prompts of builtin:short"
    assert words in text.replace("\\", "")


def test_a_tie_is_told_with_its_place_tokens_and_gap(tmp_path: Path) -> None:
    text = read("terminal", session(tmp_path, tied=record(TIE)))
    assert "478/478, 1 tie" in text
    assert (
        'first at token 31 of answer 3: 260 " a" instead of 284 " the", which the reference prefers by '
        "0.00110 logits (a tie by rounding; ties: ≤ 0.0023)"
    ) in text
    assert "DISAGREES" not in text


def test_of_several_divergences_one_that_is_no_tie_is_told(tmp_path: Path) -> None:
    text = read("terminal", session(tmp_path, rough=record(TIE, REAL, held=False)))
    assert PARTS in text
    assert "2 of 8 answers differ" in text


def test_csv_has_a_column_for_each_figure(tmp_path: Path) -> None:
    row = table_row(session(tmp_path, wrong=record(REAL, text=1.5)), "wrong")
    assert (row["agreed_tokens"], row["compared_tokens"], row["ties"]) == ("451", "512", "0")
    assert (row["top1_share"], row["kl_nats_mean"]) == ("1.0", "3.2e-10")
    assert (row["perplexity_ratio"], row["text_perplexity_ratio"]) == ("1.0", "1.5")
    assert "the text is off by +50.00 %" in row["disagrees"]
    assert row["agreement_reference"].startswith("torch float32 [cpu]")


def test_json_has_each_divergence(tmp_path: Path) -> None:
    document = json.loads(JsonRenderer().render(session(tmp_path, wrong=record(REAL)), {}))
    (divergence,) = document["cells"][0]["agreement"]["divergences"]
    assert (divergence["position"], divergence["token"], divergence["tie"]) == (3, 260, False)


@pytest.mark.parametrize("report", ["terminal", "markdown", "html", "csv", "json"])
def test_a_reference_that_could_not_run_is_told_with_its_reason(tmp_path: Path, report: str) -> None:
    reason = "no reference: torch cannot run: no such library"
    text = read(report, session(tmp_path, a=unknown(reason)))
    assert reason in text


def test_without_logits_the_table_says_that_there_is_no_divergence(tmp_path: Path) -> None:
    text = read("terminal", session(tmp_path, mute=record(forced=None)))
    assert AGREES in text
    assert "the backend does not show its logits" in text


def test_a_session_without_the_check_has_no_such_columns(tmp_path: Path) -> None:
    result = session(tmp_path, a=None)
    assert "agrees" not in terminal(result)
    assert table_row(result, "a")["agreed_tokens"] == ""


@pytest.mark.parametrize("report", ["terminal", "markdown", "csv", "html"])
def test_tokens_and_reasons_of_a_stranger_s_come_out_inert(tmp_path: Path, report: str) -> None:
    bad = make_session.HOSTILE
    hostile = record(Divergence(0, 1, 2, 3, 1.0, 0.1, bad, bad))
    hostile["reference"] |= {"label": bad, "prompts": bad}
    hostile["disagrees"] = [bad]
    text = read(report, session(tmp_path, a=hostile, b=unknown(bad)))
    assert "\x1b" not in text
    assert "</script><img" not in text or report in ("terminal", "csv")


def test_a_damaged_record_is_unknown() -> None:
    for text in ("{", "[]", "3", '{"reference": 1}', json.dumps({**record(), "divergences": 7})):
        assert read_agreement(text) is None
    assert read_agreement(None) is None
