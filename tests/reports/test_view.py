"""The table of cells in a reader's order, size and columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import make_session
import pytest
from click.testing import CliRunner
from make_session import Cell

from joulebench.commands.report import report
from joulebench.errors import JoulebenchError
from joulebench.session import Session
from joulebench_reports.renderers import MarkdownRenderer, TerminalRenderer
from joulebench_reports.summary.session import empty_cell, summarise
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import EnergySummary
from joulebench_reports.words.units import energy_prefix


@pytest.fixture
def mixed(tmp_path: Path) -> Session:
    cells = [
        Cell("a", "dear", joules_per_token=0.9, peak_mib=100, perplexity=20.0),
        Cell("b", "cheap", joules_per_token=0.1, peak_mib=300, perplexity=19.0),
        Cell("c", "middling", joules_per_token=0.5, peak_mib=200, perplexity=18.0),
    ]
    return Session(make_session.write(tmp_path / "s", cells))


def labels(session: Session, **settings: str | int) -> list[str]:
    text = TerminalRenderer().render(session, {"width": 160, **settings})
    table = text.split("\nCells\n")[1].split("\n\n")[0].splitlines()[2:]
    return [line.split()[0] for line in table if not line.startswith("  ")]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("energy", ["cheap", "middling", "dear"]),
        ("profile", ["dear", "cheap", "middling"]),
        ("memory", ["dear", "middling", "cheap"]),
        ("quality", ["middling", "cheap", "dear"]),
    ],
)
def test_the_cells_come_in_the_order_of_the_question(mixed: Session, sort: str, order: list[str]) -> None:
    assert labels(mixed, sort=sort) == order


def test_the_best_few_are_shown_and_that_there_are_more(mixed: Session) -> None:
    assert labels(mixed, top=1) == ["cheap"]
    assert "The best 1 of 3 cells" in TerminalRenderer().render(mixed, {"top": 1})


def test_columns_are_chosen_by_their_headings_and_a_wrong_one_is_named(mixed: Session) -> None:
    table = MarkdownRenderer().render(mixed, {"columns": "ppl, net"}).split("## Cells")[1]
    assert "| cell | ppl | net |" in table
    with pytest.raises(JoulebenchError, match="no column 'joules'"):
        TerminalRenderer().render(mixed, {"columns": "joules"})


def test_each_energy_is_set_beside_the_least(mixed: Session) -> None:
    line = next(x for x in TerminalRenderer().render(mixed, {"width": 160}).splitlines() if x.startswith("dear"))
    assert "8.9" in line or "9.0" in line
    assert "×" in line


def test_flags_are_in_the_narrowest_table(mixed: Session) -> None:
    assert "flags" in TerminalRenderer().render(mixed, {"width": 60})


def test_small_energies_have_a_prefix() -> None:
    assert energy_prefix([0.567, None, 0.05], "J/token") == (1.0, "J/token")
    assert energy_prefix([0.05, 0.002], "J/token") == (1e3, "mJ/token")
    assert energy_prefix([4.8e-05], "J/token") == (1e6, "µJ/token")
    assert energy_prefix([0.002], "W") == (1.0, "W")
    assert energy_prefix([None], "J/token") == (1.0, "J/token")


def test_energies_in_other_units_agree_with_each_other(tmp_path: Path) -> None:
    session = Session(make_session.write(tmp_path / "s", [Cell("a", "one", joules_per_token=0.5)]))
    settings = {"width": 140, "verbose": True, "battery_wh": 50.0, "price_per_kwh": 0.3}
    section = TerminalRenderer().render(session, settings).split("\nIn other units\n")[1]
    line = next(line for line in section.splitlines() if line.startswith("one"))
    per_joule, power_w, answers_wh, battery, cost = (
        float(part.split()[0]) for part in line.removeprefix("one").replace(" est.", "|").split("|")[:5]
    )
    energy = summarise(session).shown[0]
    assert per_joule == pytest.approx(1 / (energy.headline.value or 0), rel=0.01)
    assert power_w == pytest.approx(energy.energy[0].power_w.value, rel=0.01)
    assert answers_wh == pytest.approx(1000 * (energy.units_per_request or 0) / per_joule / 3600, rel=0.02)
    assert battery == pytest.approx(100 * answers_wh / 50, rel=0.05)
    assert cost == pytest.approx(0.3 * answers_wh / 1000, rel=0.02)


def test_a_disturbed_run_says_so_first_and_shows_what_calm_blocks_say(tmp_path: Path) -> None:
    cells = [Cell("a", "torn", noise=0.0, block_flags={n: ["contended"] for n in range(8)}), Cell("b", "calm one")]
    session = Session(make_session.write(tmp_path / "s", cells))
    raised = summarise(session)
    torn = next(cell for cell in raised.shown if cell.label == "torn")
    assert torn.disturbed_blocks == 8
    text = TerminalRenderer().render(session, {"width": 160})
    assert "DISTURBED: 8 of 40 blocks" in text.split("Answer")[0]
    assert "--until-quiet" in text


def test_a_calm_figure_is_shown_where_it_is_another_one() -> None:
    gross = Figure(0.32, "J/token", low=0.04, high=0.6, n=20, provenance="estimated")
    calm = Figure(0.126, "J/token", low=0.12, high=0.13, n=17, provenance="estimated")
    cell = replace(empty_cell("a"), headline=gross, energy=(energy_summary(gross, calm),))
    assert cell.calm == calm
    alike = replace(gross, value=0.31, n=17)
    assert replace(cell, energy=(energy_summary(gross, alike),)).calm is None
    assert replace(cell, energy=(energy_summary(gross, replace(calm, n=20)),)).calm is None


def energy_summary(gross: Figure, calm: Figure) -> EnergySummary:
    none = Figure(None, "J/token")
    return EnergySummary("estimated", (), (), gross, none, none, none, none, calm, none, (), None, ())


def test_the_command_line_has_them_as_options_of_its_own(mixed: Session) -> None:
    shown = CliRunner().invoke(report, [str(mixed.path), "--sort", "memory", "--top", "1", "--columns", "net"])
    assert shown.exit_code == 0, shown.output
    assert "dear" in shown.output.split("Cells")[1].split("What saves")[0]
    assert "cheap" not in shown.output.split("Cells")[1].split("What saves")[0]
    assert len(CliRunner().invoke(report, [str(mixed.path), "-v"]).output) > len(shown.output)
    refused = CliRunner().invoke(report, [str(mixed.path), "--format", "csv", "--sort", "memory"])
    assert refused.exit_code == 2
    assert "the format 'csv' has no --sort" in refused.output
