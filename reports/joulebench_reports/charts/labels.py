"""Names beside marks that never run into each other, however wide the picture is drawn.

A page gives a picture the width that there is. So names are placed by shares of its width and height,
and two of them must be apart at each of several widths; one that finds no place is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

#: Widths in px at which names must be apart: a phone's picture, and wider ones up to a whole screen's.
_WIDTHS: Final = (200.0, 280.0, 380.0, 520.0, 700.0, 950.0, 1250.0)
#: Of the picture's own height, without the axis below it, in px.
_HEIGHT: Final = 270.0
#: A letter's width and a line's height at the pages' size of type, rather too large than too small.
_LETTER: Final = 7.4
_LINE: Final = 17.0
#: From a mark to its name, and half of a mark's size.
_GAP: Final = 9.0
_MARK: Final = 6.0
#: What a name leaves free of the half of the picture that it has; as in the template.
_MARGIN: Final = 14.0
#: How far a name may be from its mark, in lines.
_FURTHEST: Final = 4
#: A line further away is as bad as so many marks that are covered, over all widths.
_LINE_COST: Final = 2
#: A name that is further from its mark than this, in px, is joined to it by a line.
_JOINED: Final = 10.0

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark at shares of the picture's width (from the left) and height (from the top), and its name."""

    x: float
    y: float
    name: str


@dataclass(frozen=True, slots=True)
class PlacedName:
    """Where the name of the ``index``-th mark stands: beside ``x`` of the mark, at ``y`` of the height."""

    index: int
    y: float
    side: Side
    joined: bool


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    right: float
    top: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def placed_names(marks: Sequence[Mark], others: Sequence[Mark] = ()) -> list[PlacedName]:
    """Places for the names of ``marks``, the first of them first; clear of ``others`` too where that can be."""
    points = [[_point(mark, width) for mark in (*marks, *others)] for width in _WIDTHS]
    boxes: list[list[_Box]] = [[] for _ in _WIDTHS]
    names: list[PlacedName] = []
    for index, mark in enumerate(marks):
        best: tuple[int, PlacedName, list[_Box]] | None = None
        for place in _places(index, mark):
            own = [_name_box(mark, place, width) for width in _WIDTHS]
            if any(box.meets(other) for box, before in zip(own, boxes, strict=True) for other in before):
                continue
            covered = sum(box.meets(point) for box, there in zip(own, points, strict=True) for point in there)
            cost = covered + _LINE_COST * round(abs(place.y - mark.y) * _HEIGHT / _LINE)
            if best is None or cost < best[0]:
                best = cost, place, own
        if best is not None:
            names.append(best[1])
            for before, box in zip(boxes, best[2], strict=True):
                before.append(box)
    return names


def _places(index: int, mark: Mark) -> Iterator[PlacedName]:
    """Beside the mark first, then further and further above and below it."""
    side: Side = "right" if mark.x < 0.5 else "left"
    for line in range(_FURTHEST + 1):
        for direction in (-1, 1) if line else (0,):
            y = mark.y + direction * line * _LINE / _HEIGHT
            if 0.5 * _LINE / _HEIGHT <= y <= 1 - 0.5 * _LINE / _HEIGHT or not line:
                yield PlacedName(index, y, side, joined=line * _LINE > _JOINED)


def _point(mark: Mark, width: float) -> _Box:
    x, y = mark.x * width, mark.y * _HEIGHT
    return _Box(x - _MARK, x + _MARK, y - _MARK, y + _MARK)


def _name_box(mark: Mark, place: PlacedName, width: float) -> _Box:
    """The name as it is drawn: cut where it would leave its half of the picture."""
    length = min(_LETTER * len(mark.name), width / 2 - _MARGIN)
    x, y = mark.x * width, place.y * _HEIGHT
    left = x + _GAP if place.side == "right" else x - _GAP - length
    return _Box(left, left + length, y - _LINE / 2, y + _LINE / 2)
