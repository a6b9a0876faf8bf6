"""Charts as pictures outside of a page: SVG and PNG by ``vl_convert``, which joulebench[html] brings."""

from __future__ import annotations

import re
from typing import Any, Final

from joulebench.errors import UnavailableError
from joulebench_reports.charts.palette import coloured
from joulebench_reports.charts.specification import Chart
from joulebench_reports.charts.template import Json

_WIDTH_PX: Final = 720
#: The longest name of a cell beside its bar.
_LABEL_PX: Final = 260
#: Pixels of a PNG for each of the picture's own.
_SCALE: Final = 2.0
#: What Vega names clip paths and gradients, in their definition and where they are used.
_NUMBERED: Final = re.compile(r'(id="|url\(#)([a-z]+_?)(\d+)(?="|\))')


def standalone(chart: Chart, width_px: int = _WIDTH_PX) -> Json:
    """The specification as any Vega-Lite reader takes it: its own colours, a width, its title."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        **coloured(chart.spec),
        "width": width_px,
        "title": chart.title,
        "config": {"axisY": {"labelLimit": _LABEL_PX}},
        "background": "white",
    }


def svg(chart: Chart) -> str:
    """The picture as SVG."""
    return renumbered(str(_converter().vegalite_to_svg(standalone(chart))))


def renumbered(picture: str) -> str:
    """An SVG whose ids count from 1: Vega counts over all pictures of a process, so that no two would be equal."""
    places: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = f"{found[2]}{found[3]}"
        return f"{found[1]}{found[2]}{places.setdefault(name, len(places) + 1)}"

    return _NUMBERED.sub(number, picture)


def png(chart: Chart) -> bytes:
    """The picture as PNG."""
    return bytes(_converter().vegalite_to_png(standalone(chart), scale=_SCALE))


def png_of_svg(picture: str) -> bytes:
    """An SVG as PNG."""
    return bytes(_converter().svg_to_png(picture, scale=_SCALE))


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError:
        raise UnavailableError("pictures need joulebench[html]", hint="pip install 'joulebench[html]'") from None
    return vl_convert
