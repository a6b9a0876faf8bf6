"""Names in a picture of quality against cost never run into each other."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import make_session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.session import Session
from joulebench_reports.charts import labels
from joulebench_reports.charts.drawing import svg
from joulebench_reports.charts.labels import Mark, placed_names
from joulebench_reports.charts.tradeoff import tradeoff_charts
from joulebench_reports.summary.session import summarise

SHARES = st.floats(0.02, 0.98)
MARKS = st.lists(st.builds(Mark, SHARES, SHARES, st.text("abc ", min_size=1, max_size=40)), max_size=10)


@given(MARKS, st.lists(st.builds(Mark, SHARES, SHARES, st.just("")), max_size=20))
def test_names_are_apart_at_every_width(marks: list[Mark], others: list[Mark]) -> None:
    placed = placed_names(marks, others)
    for width in labels._WIDTHS:
        boxes = [labels._name_box(marks[name.index], name, width) for name in placed]
        assert all(box.left >= 0 and box.right <= width for box in boxes)
        assert not any(one.meets(other) for one, other in itertools.combinations(boxes, 2))


def test_the_first_name_stands_beside_its_mark() -> None:
    (left,) = placed_names([Mark(0.2, 0.5, "a")])
    (right,) = placed_names([Mark(0.8, 0.5, "a")])
    assert (left.side, left.y, left.joined) == ("right", 0.5, False)
    assert right.side == "left"


def test_of_marks_at_one_place_the_first_are_named_and_no_two_names_meet() -> None:
    placed = placed_names([Mark(0.3, 0.5, "the same name")] * 30)
    assert 4 <= len(placed) < 30
    assert placed[0].index == 0
    assert all(name.joined for name in placed[1:])


@pytest.mark.parametrize("count", [12, 60])
def test_no_two_names_of_a_drawn_picture_overlap(tmp_path: Path, count: int) -> None:
    cells = make_session.many_cells(count)
    for cell in cells:
        cell.samples, cell.blocks = False, 3
    names = {cell.label for cell in cells}
    charts = tradeoff_charts(summarise(Session(make_session.write(tmp_path / "s", cells))).shown)
    for chart in charts:
        boxes = [box for box in _texts(svg(chart)) if box[0] in names]
        assert len(boxes) >= 3
        for (one, x0, x1, y), (other, u0, u1, v) in itertools.combinations(boxes, 2):
            assert x1 <= u0 or u1 <= x0 or abs(y - v) >= 13, f"{one} and {other} overlap"


def _texts(picture: str) -> list[tuple[str, float, float, float]]:
    """Each text with its horizontal ends and baseline, a letter being half as wide as its type is high."""
    found = []
    place = r'<text [^>]*?text-anchor="(\w+)" transform="translate\(([-\d.]+),([-\d.]+)\)"'
    pattern = place + r'[^>]*font-size="([\d.]+)px"[^>]*>([^<]*)<'
    for anchor, x, y, size, text in re.findall(pattern, picture):
        width = 0.5 * float(size) * len(text)
        begin = float(x) - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        found.append((text, begin, begin + width, float(y)))
    return found
