"""How costs grow with a number of the profile, as reports say it."""

from __future__ import annotations

import json
from pathlib import Path

import make_session
import pytest
from make_session import Cell

from joulebench.session import Session
from joulebench_reports.charts.scaling import scaling_charts
from joulebench_reports.renderers import HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.summary.joining import summary_of

LENGTHS = (128, 512, 2048)


def session_of(folder: Path, powers: dict[str, float], lengths: tuple[int, ...] = LENGTHS) -> Session:
    """For each model a cell of each length, whose joules a token grow as a power of it."""
    cells = [
        Cell(
            f"{model}{length}",
            f"{model} length={length}",
            workload=f"prefill length={length}",
            backend_settings={"length": length},
            row={"model": model},
            joules_per_token=0.01 * length**power,
        )
        for model, power in powers.items()
        for length in lengths
    ]
    return Session(make_session.write(folder / "s", cells))


def test_each_model_has_its_exponent(tmp_path: Path) -> None:
    summary, _ = summary_of([session_of(tmp_path, {"quadratic": 1.0, "linear": 0.0})])
    exponents = {made.model: made.quantities[0] for made in summary.scalings}
    assert exponents["quadratic"].exponent.value == pytest.approx(1.0, abs=0.02)
    assert exponents["linear"].exponent.value == pytest.approx(0.0, abs=0.02)
    assert exponents["linear"].at_end.low is not None
    assert {quantity.exponent.provenance for quantity in exponents.values()} == {"estimated"}
    assert summary.scalings[0].values == LENGTHS


def test_models_share_a_picture_where_they_are_few(tmp_path: Path) -> None:
    summary, _ = summary_of([session_of(tmp_path, {"quadratic": 1.0, "linear": 0.0})])
    (chart,) = scaling_charts(summary.shown)
    assert {row[0] for row in chart.rows} == {"quadratic · none · torch", "linear · none · torch"}


def test_a_narrow_range_has_no_exponent(tmp_path: Path) -> None:
    summary, _ = summary_of([session_of(tmp_path, {"m": 1.0}, (128, 192, 256))])
    assert summary.scalings == ()


def test_every_report_says_it(tmp_path: Path) -> None:
    sessions = [session_of(tmp_path, {"quadratic": 1.0})]
    for renderer in (TerminalRenderer(), MarkdownRenderer(), HtmlRenderer()):
        text = renderer.render(sessions[0], renderer.default_settings())
        assert "How costs grow" in str(text)
    document = json.loads(JsonRenderer().render(sessions[0], JsonRenderer().default_settings()))
    (scaling,) = document["scalings"]
    assert scaling["axis"] == "length"
    assert scaling["quantities"][0]["name"] == "energy"
