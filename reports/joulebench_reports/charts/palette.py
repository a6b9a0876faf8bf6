"""The colours of charts where no page gives them: those of the page's light theme."""

from __future__ import annotations

from typing import Any, Final

from joulebench_reports.charts.template import Json

#: Name of a CSS variable of the page → its colour in the light theme; a test holds them equal.
LIGHT: Final = {
    "surface": "#ffffff",
    "raised": "#f6f7f9",
    "ink": "#1b2430",
    "soft": "#56616f",
    "line": "#d9dee5",
    "accent": "#0f6b62",
    "warn": "#b42318",
    "measured": "#1d5fd0",
    "estimated": "#a65300",
    "simulated": "#6d3bbf",
    "muted": "#aab4c0",
    "prefill": "#c97d16",
    "decode": "#2f7fb8",
    "series-1": "#1d5fd0",
    "series-2": "#c2410c",
    "series-3": "#0f766e",
    "series-4": "#7e22ce",
    "series-5": "#a16207",
    "series-6": "#be185d",
    "series-7": "#3f6212",
    "series-8": "#475569",
}
_VARIABLE: Final = "var:--"
#: What a specification holds of a session: foreign texts, in which nothing is replaced.
_DATA: Final = ("values", "datasets")


def coloured(spec: Json) -> Json:
    """A chart's specification with colours in place of the page's variables."""
    result: Json = _coloured(spec)
    return result


def _coloured(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: inner if key in _DATA else _coloured(inner) for key, inner in node.items()}
    if isinstance(node, list):
        return [_coloured(inner) for inner in node]
    if isinstance(node, str) and node.startswith(_VARIABLE):
        return LIGHT[node.removeprefix(_VARIABLE)]
    return node
