"""Vega-Lite specifications as JSON templates with data put in.

In a template ``"$name"`` stands for a value, ``{"$use": "part"}`` for a part of ``parts.json`` with
the other keys laid over it, and an object with ``"$if": "$name"`` is left out of its list unless the
value is true. Strings that start with ``var:--`` name a CSS variable of the page; its script puts
the colour in, so that charts follow the reader's light or dark theme.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

#: A JSON object; Vega-Lite's specification is one.
Json = dict[str, Any]


def filled(name: str, **values: object) -> Json:
    """The template of this name with the values in their places."""
    specification: Json = _filled(_read(name), values)
    return specification


@functools.cache
def _read(name: str) -> Json:
    file = resources.files("joulebench_reports.charts") / "templates" / f"{name}.json"
    template: Json = json.loads(file.read_text("utf-8"))
    return template


def _filled(node: Any, values: Mapping[str, object]) -> Any:
    if isinstance(node, str):
        return values[node[1:]] if node.startswith("$") else node
    if isinstance(node, list):
        return [_filled(inner, values) for inner in node if _applies(inner, values)]
    if not isinstance(node, dict):
        return node
    own = {key: _filled(inner, values) for key, inner in node.items() if not key.startswith("$")}
    return _overlaid(_filled(_read("parts")[node["$use"]], values), own) if "$use" in node else own


def _applies(node: Any, values: Mapping[str, object]) -> bool:
    return not isinstance(node, dict) or "$if" not in node or bool(values[node["$if"][1:]])


def _overlaid(below: Json, above: Json) -> Json:
    """Both together; where both have an object it is overlaid in turn."""
    both = {
        key: _overlaid(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], dict) and isinstance(above[key], dict)
    }
    return {**below, **above, **both}
