"""The roofline: what the machine allows at each arithmetic intensity, and where the cells stand.

S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual Performance Model for
Multicore Architectures", Communications of the ACM 52(4), 2009. The roofs are this session's own
kernels; the points are what a token must move and compute at least, at the speed it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from joulebench_reports.charts.specification import Chart, tooltip
from joulebench_reports.charts.template import Json, filled
from joulebench_reports.reading.limits import ComputePlace, Limits, find_limits, place_of
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import number, percent, plain

NOTE: Final = (
    "Both axes are logarithmic. The slope is the measured bandwidth of reading, the ceiling the "
    "measured rate of a matrix product. A cell above its own roof has its weights in a cache, or "
    "the limit was measured in a worse moment. Operations are those of the weights' matrices, "
    "without attention; bytes are the weights and the KV cache that must be moved at least."
)
_HEIGHT_PX: Final = 480
#: About what a label needs in height, a character in width, and the chart is wide.
_LABEL_PX: Final = 15
_CHARACTER_PX: Final = 6.5
_WIDTH_PX: Final = 1000
#: With more cells than this, points bear numbers and the table beside them says whose they are.
_MOST_NAMED: Final = 6
#: Room beyond the outermost point or corner, as a factor; more on the left, where slopes are named.
_MARGIN: Final = 3.0
_LEFT_MARGIN: Final = 4.0
_DASHES: Final = ([1, 0], [7, 4], [2, 3], [10, 3, 2, 3])


@dataclass(frozen=True, slots=True)
class Point:
    """One phase of a cell: operations for each byte, and operations a second."""

    label: str
    phase: str
    intensity: float
    rate: Figure
    place: ComputePlace | None
    dtype: str | None


@dataclass(frozen=True, slots=True)
class Roof:
    """The limits of one place and number type; ``None`` where the session did not measure it."""

    label: str
    place: ComputePlace
    dtype: str | None
    bytes_s: float | None
    operations_s: float | None

    def at(self, intensity: float) -> float | None:
        """Operations a second that the roof allows; ``None`` unless both limits are known."""
        if self.bytes_s is None or self.operations_s is None:
            return None
        return min(self.bytes_s * intensity, self.operations_s)


def points_of(cells: Sequence[CellSummary]) -> list[Point]:
    """Prefill and decode of each cell whose traffic is known."""
    points: list[Point] = []
    for cell in cells:
        if cell.simulated:  # its roof is none of this machine's
            continue
        work, place = cell.token, place_of(cell)
        label = plain(cell.label)
        prefill, decode = cell.speed.prefill_tok_s, cell.speed.decode_tok_s
        if prefill.value and work.prefill_bytes and work.prefill_operations and work.prompt:
            points.append(
                Point(
                    label,
                    "prefill",
                    work.prefill_operations / work.prefill_bytes,
                    prefill.times(work.prefill_operations / work.prompt, "FLOP/s"),
                    place,
                    cell.dtype,
                )
            )
        if decode.value and work.decode_bytes and work.operations:
            points.append(
                Point(
                    label,
                    "decode",
                    work.operations / work.decode_bytes,
                    decode.times(work.operations, "FLOP/s"),
                    place,
                    cell.dtype,
                )
            )
    return points


def roofs_of(limits: Limits) -> list[Roof]:
    """A roof for each rate of a matrix product, and for each bandwidth that has none."""
    roofs = [
        Roof(f"{dtype}, {place}", place, dtype, _base(limits.bandwidth.get(place)), _base(cell))
        for (place, dtype), cell in limits.compute.items()
    ]
    covered = {roof.place for roof in roofs}
    roofs += [
        Roof(str(place), place, None, _base(cell), None)
        for place, cell in limits.bandwidth.items()
        if place not in covered
    ]
    return roofs


def _base(cell: CellSummary | None) -> float | None:
    """A limit's own figure is in giga-units a second."""
    return None if cell is None or cell.limit.value is None else cell.limit.value * 1e9


def roofline_chart(cells: Sequence[CellSummary]) -> Chart | None:
    """The picture; ``None`` where the session has no limit or nothing stands below one."""
    roofs, points = roofs_of(find_limits(cells)), points_of(cells)
    if not roofs or not points:
        return None
    names = list(dict.fromkeys(point.label for point in points))
    numbers = {name: str(place) for place, name in enumerate(names, start=1)}
    few = len(names) <= _MOST_NAMED
    roofs_in_words = "; ".join(_in_words(roof) for roof in roofs)
    return Chart(
        "chart-roofline",
        "Roofline: operations a second against operations for each byte",
        None,
        f"Roofline of {len(points)} phases below these roofs: {roofs_in_words}; every value is in "
        "the table below the chart",
        _spec(roofs, points, {name: name for name in names} if few else numbers),
        ("number", "cell", "phase", "FLOP/byte", "GFLOP/s", "of its roof"),
        tuple((numbers[point.label], *_row(point, roofs)) for point in points),
        unfolded=not few,
    )


def _row(point: Point, roofs: Sequence[Roof]) -> tuple[str, ...]:
    own = next((r for r in roofs if (r.place, r.dtype) == (point.place, point.dtype)), None)
    allowed = None if own is None else own.at(point.intensity)
    reached = point.rate.value
    share = None if allowed is None or reached is None else reached / allowed
    return (point.label, point.phase, number(point.intensity), number(_giga(reached)), percent(share))


def _giga(value: float | None) -> float | None:
    return None if value is None else value / 1e9


def _in_words(roof: Roof) -> str:
    return " and ".join(_limits_in_words(roof)) + f" ({roof.label})"


def _limits_in_words(roof: Roof) -> list[str]:
    parts = [(roof.bytes_s, "GB/s"), (roof.operations_s, "GFLOP/s")]
    return [f"{number(value / 1e9)} {unit}" for value, unit in parts if value is not None]


# -- the picture --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the axes span, in FLOP/byte and GFLOP/s."""

    left: float
    right: float
    bottom: float
    top: float


def _frame(roofs: Sequence[Roof], points: Sequence[Point]) -> _Frame:
    ridges = [r.operations_s / r.bytes_s for r in roofs if r.operations_s and r.bytes_s]
    across = [point.intensity for point in points] + ridges
    up = [rate for point in points if (rate := _giga(point.rate.value))]
    up += [rate for roof in roofs if (rate := _giga(roof.operations_s))]
    left, right = min(across) / _LEFT_MARGIN, max(across) * _MARGIN
    # A slope begins a little above the corner: its name stands below it.
    up += [roof.bytes_s * left * _MARGIN / 2 / 1e9 for roof in roofs if roof.bytes_s]
    if not ridges:
        up += [roof.bytes_s * max(across) / 1e9 for roof in roofs if roof.bytes_s]
    return _Frame(left, right, min(up) / _MARGIN, max(up) * _MARGIN)


def _spec(roofs: Sequence[Roof], points: Sequence[Point], texts: Mapping[str, str]) -> Json:
    frame = _frame(roofs, points)
    names = [_in_words(roof) for roof in roofs]
    return filled(
        "roofline",
        height=_HEIGHT_PX,
        intensities=[frame.left, frame.right],
        rates=[frame.bottom, frame.top],
        roofs=names,
        dashes=[_DASHES[place % len(_DASHES)] for place in range(len(names))],
        roof_rows=[row for roof in roofs for row in _roof_line(roof, frame)],
        roof_labels=_roof_labels(roofs, frame),
        point_rows=_point_rows(points, roofs),
        point_labels=_point_labels(points, frame, texts),
        tooltip=tooltip(cell="cell", phase="phase", x_text="FLOP/byte", y_text="GFLOP/s", share="of its roof"),
    )


def _roof_line(roof: Roof, frame: _Frame) -> list[Json]:
    """The slope up to the ceiling and along it, as far as each is known."""
    slope, ceiling = _giga(roof.bytes_s), _giga(roof.operations_s)
    if slope is None:
        ends = [(frame.left, ceiling), (frame.right, ceiling)]
    elif ceiling is None:
        ends = [(frame.left, slope * frame.left), (frame.right, slope * frame.right)]
    else:
        ridge = ceiling / slope
        ends = [(frame.left, slope * frame.left), (ridge, ceiling), (frame.right, ceiling)]
    return [{"x": x, "y": y, "roof": _in_words(roof)} for x, y in ends]


def _roof_labels(roofs: Sequence[Roof], frame: _Frame) -> list[Json]:
    """Each ceiling named over its right end, each slope below its left one."""
    labels: list[Json] = []
    for roof in roofs:
        if roof.operations_s is not None:
            text = f"{number(roof.operations_s / 1e9)} GFLOP/s"
            labels.append(
                {"x": frame.right, "y": roof.operations_s / 1e9, "text": text, "align": "right", "dx": 0, "dy": -9}
            )
    for bytes_s in dict.fromkeys(roof.bytes_s for roof in roofs if roof.bytes_s is not None):
        x = max(frame.left, frame.bottom * 1e9 / bytes_s) * 1.08
        y = bytes_s * x / 1e9
        labels.append({"x": x, "y": y, "text": f"{number(bytes_s / 1e9)} GB/s", "align": "left", "dx": 14, "dy": 9})
    return labels


def _point_rows(points: Sequence[Point], roofs: Sequence[Roof]) -> list[Json]:
    rows: list[Json] = []
    for point in points:
        label, phase, x_text, y_text, share = _row(point, roofs)
        rows.append(
            {
                "x": point.intensity,
                "y": _giga(point.rate.value),
                "cell": label,
                "phase": phase,
                "x_text": x_text,
                "y_text": y_text,
                "share": share,
            }
        )
    return rows


def _point_labels(points: Sequence[Point], frame: _Frame, texts: Mapping[str, str]) -> list[Json]:
    """A label to the right of each point, at the nearest height where no other is in its way."""
    down_px = _HEIGHT_PX / math.log(frame.top / frame.bottom)
    across_px = _WIDTH_PX / math.log(frame.right / frame.left)
    taken: list[tuple[float, float, float]] = []
    labels: list[Json] = []
    for point in sorted(points, key=lambda point: -(point.rate.value or 0.0)):
        text = texts[point.label]
        left = across_px * math.log(point.intensity)
        right = left + _CHARACTER_PX * (len(text) + 2)
        own = down_px * math.log((point.rate.value or 1.0) / 1e9)
        near = [y for start, end, y in taken if start < right and left < end]
        steps = [0, *(sign * step for step in range(1, len(near) + 2) for sign in (-1, 1))]
        tries = [own + step * _LABEL_PX for step in steps]
        height = next(y for y in tries if all(abs(y - other) >= _LABEL_PX for other in near))
        taken.append((left, right, height))
        labels.append({"x": point.intensity, "y": math.exp(height / down_px), "text": text})
    return labels
