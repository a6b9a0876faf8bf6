"""Charts of many cells: the best as bars, all of them in a strip, the front of quality and cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_session
import pytest

from joulebench.session import Session
from joulebench_reports.charts import template
from joulebench_reports.charts.bars import MOST_BARS, TOP, comparison_charts, group_names
from joulebench_reports.charts.phases import phase_charts
from joulebench_reports.charts.relative import relative_charts
from joulebench_reports.charts.specification import Chart, bars
from joulebench_reports.charts.tradeoff import front_of, tradeoff_charts
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary


def cells_of(path: Path, cells: list[make_session.Cell]) -> tuple[CellSummary, ...]:
    return summarise(Session(make_session.write(path, cells))).shown


@pytest.fixture
def many(tmp_path: Path) -> tuple[CellSummary, ...]:
    """Some more cells than are drawn as bars."""
    cells = make_session.many_cells(MOST_BARS + 10)
    for cell in cells:
        cell.samples, cell.blocks = False, 3
    return cells_of(tmp_path / "s", cells)


def energy(charts: list[Chart]) -> list[Chart]:
    return [chart for chart in charts if "J/token" in chart.title]


def test_few_cells_are_all_bars(session: Session) -> None:
    (chart,) = energy(comparison_charts(summarise(session).shown))
    assert [row[0] for row in chart.rows] == ["torch int8", "torch f32"]  # the least first


def test_of_many_cells_the_best_are_bars_and_all_are_in_a_strip(many: tuple[CellSummary, ...]) -> None:
    strip, bars = energy(comparison_charts(many))
    assert len(strip.rows) == len(many)
    assert f"the {TOP} lowest of {len(many)}" in bars.title
    lowest = sorted(many, key=lambda cell: cell.headline.value or 0.0)[:TOP]
    assert [row[0] for row in bars.rows] == [cell.label for cell in lowest]
    assert {strip.provenance, bars.provenance} == {"simulated"}


def test_the_fastest_are_the_highest(many: tuple[CellSummary, ...]) -> None:
    chart = next(c for c in comparison_charts(many) if c.title.startswith("Decode speed, tok/s: the"))
    rates = {cell.label: cell.speed.decode_tok_s.value or 0.0 for cell in many}
    shown = [rates[row[0]] for row in chart.rows]
    assert shown == sorted(rates.values(), reverse=True)[:TOP]


def test_groups_are_few_enough_to_be_read(many: tuple[CellSummary, ...]) -> None:
    groups = group_names(many)
    assert set(groups) == {cell.id for cell in many}
    assert 1 < len(set(groups.values())) <= 24


def test_every_chart_says_in_words_what_it_shows_and_has_its_data(many: tuple[CellSummary, ...]) -> None:
    charts = [*comparison_charts(many), *phase_charts(many), *tradeoff_charts(many)]
    assert len({chart.id for chart in charts}) == len(charts)
    for chart in charts:
        assert chart.description
        assert chart.rows
        assert all(len(row) == len(chart.header) for row in chart.rows)


def test_energy_by_phase_is_of_one_provenance_a_chart(tmp_path: Path) -> None:
    cells = [make_session.Cell("a", "a", energies={"measured": 1.0, "estimated": 2.0})]
    charts = phase_charts(cells_of(tmp_path / "s", cells))
    assert [chart.provenance for chart in charts] == ["measured", "estimated"]
    assert [row[1] for row in charts[0].rows] == ["prefill", "decode"]


def front(path: Path, *points: tuple[float, float]) -> list[str]:
    cells = [
        make_session.Cell(str(place), str(place), joules_per_token=joules, perplexity=perplexity, samples=False)
        for place, (joules, perplexity) in enumerate(points)
    ]
    return list(front_of(cells_of(path, cells)).on)


def test_a_cell_that_another_beats_in_both_is_off_the_front(tmp_path: Path) -> None:
    assert front(tmp_path / "s", (0.5, 17.0), (0.3, 18.0), (0.6, 18.5)) == ["0", "1"]


def test_a_cell_stays_on_the_front_where_intervals_meet(tmp_path: Path) -> None:
    assert front(tmp_path / "s", (0.5, 17.0), (0.5001, 17.0)) == ["0", "1"]


def test_perplexities_of_different_texts_share_no_chart(tmp_path: Path) -> None:
    cells = [make_session.Cell(name, name, samples=False) for name in "abcd"]
    cells[2].workload = cells[3].workload = "other"
    cells[1].perplexity = cells[3].perplexity = 18.0
    charts = tradeoff_charts(cells_of(tmp_path / "s", cells))
    assert [[row[0] for row in chart.rows] for chart in charts] == [["a", "b"], ["c", "d"]]
    lonely = [make_session.Cell("a", "a"), make_session.Cell("b", "b", perplexity=None)]
    assert tradeoff_charts(cells_of(tmp_path / "t", lonely)) == []


def test_where_all_compute_the_same_there_is_nothing_to_trade_off(tmp_path: Path) -> None:
    cells = [make_session.Cell(name, name, perplexity=17.0 + n / 1000) for n, name in enumerate("abc")]
    assert tradeoff_charts(cells_of(tmp_path / "s", cells)) == []
    cells[2].perplexity = 17.1
    assert len(tradeoff_charts(cells_of(tmp_path / "t", cells))) == 1


# -- what is drawn -------------------------------------------------------------------------------


def numbers(node: Any) -> Iterator[float]:
    """Every number in the data of a specification, and the ends of its domains."""
    if isinstance(node, dict):
        for key, inner in node.items():
            if key in ("low", "high", "value", "end") and isinstance(inner, (int, float)):
                yield inner
            elif key == "domain" and isinstance(inner, list):
                yield from (end for end in inner if isinstance(end, (int, float)))
            else:
                yield from numbers(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from numbers(inner)


def test_no_chart_shows_anything_below_zero_however_wide_the_interval(tmp_path: Path) -> None:
    cells = [make_session.Cell(n, n, noise=6.0, blocks=5, perplexity=17.0 + i) for i, n in enumerate("abc")]
    shown = cells_of(tmp_path / "s", cells)
    assert any((cell.headline.low or 0.0) < 0 for cell in shown), "a symmetric interval would reach below zero"
    charts = [*comparison_charts(shown), *phase_charts(shown), *tradeoff_charts(shown)]
    energies = [chart for chart in charts if chart.provenance == "estimated"]
    assert len(energies) == 3
    assert min(number for chart in charts for number in numbers(chart.spec)) >= 0


def test_an_axis_does_not_follow_an_interval_that_says_nothing() -> None:
    chart = bars("energy", "J", [("a", Figure(1.0, "J", -7.5, 9.5)), ("b", Figure(2.0, "J", 1.9, 2.1))], "measured")
    top = chart.spec["layer"][0]["encoding"]["x"]["scale"]["domain"][1]
    assert top <= 6
    rows = chart.spec["data"]["values"]
    assert [row["text"] for row in rows] == ["1.00, too noisy", "2.00 ± 0.10"]
    assert [row["low"] for row in rows] == [0, 1.9]


def test_a_template_takes_values_parts_and_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "t": {"$use": "p", "mark": {"size": "$size"}, "layer": [{"$if": "$shown", "a": 1}, {"b": "$size"}]},
        "parts": {"p": {"mark": {"type": "bar", "size": 1}, "c": "$size"}},
    }
    monkeypatch.setattr(template, "_read", files.__getitem__)
    whole = {"mark": {"type": "bar", "size": 9}, "c": 9, "layer": [{"a": 1}, {"b": 9}]}
    assert template.filled("t", size=9, shown=True) == whole
    assert template.filled("t", size=9, shown=False) == {**whole, "layer": [{"b": 9}]}


# -- relative to the baseline ---------------------------------------------------------------------


def test_energies_relative_to_the_baseline_are_those_of_the_verdicts_the_least_first(tmp_path: Path) -> None:
    cells = [
        make_session.Cell("a", "base", blocks=12, processes=3, samples=False),
        make_session.Cell("b", "half", blocks=12, processes=3, samples=False, joules_per_token=0.25),
        make_session.Cell("c", "more", blocks=12, processes=3, samples=False, joules_per_token=0.75),
    ]
    (table,) = summarise(Session(make_session.write(tmp_path / "s", cells))).verdicts
    (chart,) = relative_charts(table)
    rows = chart.spec["data"]["values"]
    assert [row["cell"] for row in rows] == ["half", "base", "more"]
    assert [round(row["value"]) for row in rows] == pytest.approx([50, 100, 150], abs=2)
    assert (chart.provenance, "low" in rows[1]) == ("estimated", False)
    saved = next(verdict for verdict in table.verdicts if verdict.label == "half").comparison
    assert saved is not None
    assert (rows[0]["low"], rows[0]["high"]) == (100 * (saved.low or 0), 100 * (saved.high or 0))


def test_a_cell_that_cannot_be_compared_is_in_no_picture_of_shares(tmp_path: Path) -> None:
    cells = [make_session.Cell("a", "base"), make_session.Cell("b", "none", energies={"estimated": None})]
    (table,) = summarise(Session(make_session.write(tmp_path / "s", cells))).verdicts
    assert relative_charts(table) == []
