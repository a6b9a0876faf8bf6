"""The answer: what is best, what that is worth, at which quality, and the grade of trust."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import make_session
import pytest
from make_session import Cell

from joulebench.session import Session
from joulebench_reports.judging.trust import DISTURBED_SHARES, WIDTHS, trust_of
from joulebench_reports.renderers import TerminalRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.answers import Answer
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.flags import FLAGS


def answer_of(folder: Path, *cells: Cell) -> Answer:
    (answer,) = summarise(Session(make_session.write(folder / "s", list(cells)))).answers
    return answer


def measured(identifier: str, label: str, joules: float = 0.5, **more: object) -> Cell:
    cell = Cell(identifier, label, joules_per_token=joules, processes=3, energies={"measured": 1.0}, cell_flags=[])
    return replace(cell, **more)  # type: ignore[arg-type]


def test_the_least_energy_the_fastest_and_the_smallest_are_named_with_what_they_save(tmp_path: Path) -> None:
    answer = answer_of(
        tmp_path, measured("a", "base"), measured("b", "lean", 0.25), measured("c", "small", 0.6, peak_mib=100)
    )
    picks = {pick.goal: pick for pick in answer.picks}
    assert (picks["least energy"].label, picks["least energy"].shown) == ("lean", True)
    assert picks["least energy"].against is not None
    assert picks["least energy"].against.outcome == "saves"
    assert picks["least energy"].saving.endswith("against base")
    assert (picks["smallest"].label, picks["smallest"].saving) == ("small", "84 % less than base")
    assert answer.baseline == "base"


def test_the_answers_saving_is_the_verdicts(tmp_path: Path) -> None:
    cells = [measured("a", "base"), measured("b", "lean", 0.25), measured("c", "other", 0.4)]
    summary = summarise(Session(make_session.write(tmp_path / "s", cells)))
    verdict = next(v for v in summary.verdicts[0].verdicts if v.label == "lean")
    assert summary.answers[0].picks[0].against == verdict


def test_a_cell_that_loses_its_quality_is_never_the_answer(tmp_path: Path) -> None:
    lossy = measured("b", "lossy", 0.1, technique="q2", perplexity=30.0)
    unknown = measured("c", "unscored", 0.05, technique="q1", perplexity=None)
    answer = answer_of(tmp_path, measured("a", "base"), lossy, unknown)
    assert {pick.label for pick in answer.picks} == {"base"}
    reasons = dict(answer.left_out)
    assert reasons["lossy"] == "perplexity +72.1 %, more than the limit of +5 %"
    assert reasons["unscored"].startswith("loss of perplexity unknown")


def test_a_quantized_file_of_the_users_own_is_no_uncompressed_model(tmp_path: Path) -> None:
    facts = json.dumps({"dtype": "q4_k", "file_type": "Q4_K_M"})
    own = measured("a", "own", row={"facts_json": facts})
    assert answer_of(tmp_path / "own", own).quality == "perplexity +0.0 % against the Q4_K_M file itself"
    assert answer_of(tmp_path / "other", measured("a", "base")).quality.endswith("against the uncompressed model")


def test_what_is_not_shown_is_said_to_be_undecided(tmp_path: Path) -> None:
    one, two = measured("a", "one", 0.5, noise=0.3), measured("b", "two", 0.49, noise=0.3, seed=1)
    pick = answer_of(tmp_path, one, two).picks[0]
    assert not pick.shown
    assert pick.undecided
    assert pick.cure


def test_several_models_and_workloads_have_an_answer_each(tmp_path: Path) -> None:
    cells = [measured("a", "a", workload="chat"), measured("b", "b", workload="code")]
    summary = summarise(Session(make_session.write(tmp_path / "s", cells)))
    assert [answer.workload for answer in summary.answers] == ["chat", "code"]


def test_a_report_begins_with_the_answer_and_a_run_ends_with_it(session: Session) -> None:
    lines = TerminalRenderer().render(session, {"width": 100}).splitlines()
    headings = [line for line in lines if line in ("Answer", "Cells", "What saves energy", "Notes")]
    assert headings == ["Answer", "Cells", "What saves energy", "Notes"]
    conclusion = TerminalRenderer().conclusion(session, {"width": 100})
    assert conclusion is not None
    assert "least energy: torch int8" in conclusion
    assert "Cells" not in conclusion


def test_at_a_glance_there_are_five_notes_and_the_rest_on_demand(session: Session) -> None:
    brief = TerminalRenderer().render(session, {"width": 200})
    whole = TerminalRenderer().render(session, {"width": 200, "verbose": True})
    notes = brief.split("\nNotes\n")[1].splitlines()
    assert len(notes) == 6
    assert notes[0].startswith("  torch sparse: failed")
    assert "--verbose" in notes[-1]
    assert len(whole) > len(brief)


# -- trust ---------------------------------------------------------------------------------------


def shown(folder: Path, *cells: Cell) -> tuple[CellSummary, ...]:
    return summarise(Session(make_session.write(folder / "s", list(cells)))).shown


def test_measured_quiet_and_narrow_is_an_a(tmp_path: Path) -> None:
    assert trust_of(shown(tmp_path, measured("a", "a"), measured("b", "b", 0.25))).grade == "A"


@pytest.mark.parametrize(
    ("change", "grade", "word"),
    [
        ({"energies": {"estimated": 1.0}}, "C", "estimated"),
        ({"processes": 1}, "C", "one process"),
        ({"processes": 2}, "B", "fewer than three"),
        ({"cell_flags": ["no_thermal_gate"]}, "B", "temperature"),
        ({"block_flags": {0: ["contended"]}}, "B", "1 of 20 blocks"),
        ({"block_flags": {n: ["contended"] for n in range(3)}}, "C", "3 of 20 blocks"),
        ({"block_flags": {n: ["throttled"] for n in range(7)}}, "D", "7 of 20 blocks"),
        ({"energies": {}}, "D", "no cell has an energy"),
        ({"status": "unfinished"}, "C", "not ended"),
    ],
)
def test_each_weakness_holds_the_grade_down(tmp_path: Path, change: dict[str, object], grade: str, word: str) -> None:
    trust = trust_of(shown(tmp_path, measured("a", "a", **change)))
    assert trust.grade == grade
    assert any(word in reason.text for reason in trust.reasons if reason.grade == grade)


def test_the_reasons_that_decide_come_first(tmp_path: Path) -> None:
    cell = measured("a", "a", block_flags={n: ["contended"] for n in range(8)}, cell_flags=["no_thermal_gate"])
    grades = [reason.grade for reason in trust_of(shown(tmp_path, cell)).reasons]
    assert grades == sorted(grades, reverse=True)
    assert grades[0] == "D"


def test_the_page_on_trust_names_every_flag_at_its_grade() -> None:
    page = (Path(__file__).parents[2] / "docs" / "answer.md").read_text(encoding="utf-8")
    rows = {line[2]: line for line in page.splitlines() if line.startswith(("| D ", "| C ", "| B "))}
    for flag, meaning in FLAGS.items():
        assert meaning.grade is None or f"`{flag}`" in rows[meaning.grade], flag
    for table in (DISTURBED_SHARES, WIDTHS):
        assert all(f"{limit:.0%}".replace("%", " %") in rows[grade] for limit, grade in table)


def test_flags_of_a_worse_grade_come_first() -> None:
    grades = [meaning.grade for meaning in FLAGS.values() if meaning.grade is not None]
    assert grades == sorted(grades, reverse=True)
    assert all(meaning.reason and meaning.cure for meaning in FLAGS.values() if meaning.grade is not None)


def test_of_many_answers_the_first_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    cells = [
        Cell(f"c{place}", f"cell {place}", workload=f"work-{place}", blocks=3, samples=False) for place in range(14)
    ]
    text = TerminalRenderer().render(Session(make_session.write(tmp_path / "s", cells)), {"width": 100})
    answer = text.partition("Answer\n")[2].partition("\n\nCells")[0]
    assert answer.count("least energy:") == 4
    assert "10 more answers" in answer


def test_a_mark_at_the_end_of_a_sentence_needs_no_full_stop_of_its_own(tmp_path: Path) -> None:
    cell = Cell("a", "a", blocks=4, block_flags={place: ["contended"] for place in range(4)}, samples=False)
    text = TerminalRenderer().render(Session(make_session.write(tmp_path / "s", [cell])), {"width": 200})
    assert "J/token est. Not to be used" in text
    assert ".." not in text.partition("Answer")[2].partition("Cells")[0]
