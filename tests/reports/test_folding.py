"""Folded parts as data, and the kept program of the charts."""

from __future__ import annotations

import json
from pathlib import Path

import make_session
import pytest

from joulebench_reports.charts import runtime as chartruntime
from joulebench_reports.html.folding import MOST_WRITTEN, folding
from joulebench_reports.html.markup import as_data, data_block, h, render, script


def parts(count: int) -> str:
    labels = [(f"part {n}", f"p{n}") for n in range(count)]
    return render(folding("d", labels, [[h("p", make_session.HOSTILE, class_="facts")]] * count))


def test_few_parts_are_written_out() -> None:
    page = parts(2)
    assert page.count("<details") == page.count('<p class="facts">') == 2
    assert "application/json" not in page


def test_many_parts_are_data_in_which_equal_texts_stand_once() -> None:
    page = parts(MOST_WRITTEN + 1)
    assert page.count('data-part="') == MOST_WRITTEN + 1
    assert "<img" not in page
    inner = page.partition('id="d">')[2].partition("</script>")[0]
    data = json.loads(inner)
    assert len(data["texts"]) == 1
    assert data["parts"][0] == [["p", {"class": "facts"}, 0]]


def test_made_markup_cannot_become_data() -> None:
    for made in (script("1")[0], data_block("x", 1)):
        with pytest.raises(ValueError, match="no data"):
            as_data(h("div", made), {})  # type: ignore[arg-type]


def test_the_charts_program_is_kept_by_version_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vl_convert")
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path))
    first = chartruntime.chart_runtime()
    assert first is not None
    (kept,) = (tmp_path / "charts").glob("*.js")
    kept.write_text(first + "// touched")
    assert chartruntime.chart_runtime() == first
    assert kept.read_text() == first


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vl_convert")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "file"))
    assert chartruntime.chart_runtime()
