"""What the ``*_json`` columns of a session must hold, so that a reader meets no other type."""

from __future__ import annotations

import json
from typing import Any

from joulebench.errors import SessionError


def decoded_json(text: str | None, column: str, where: str) -> Any:
    """The value of a JSON column; ``None`` if null. Raises :class:`SessionError` if it is no JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SessionError(f"column {column} is not valid JSON: {error}", where=where) from None


def check_object(value: object, column: str, where: str) -> None:
    """Refuse a decoded column that is neither an object nor unknown."""
    if value is not None and not isinstance(value, dict):
        raise SessionError(f"column {column} is not a JSON object", where=where)


def check_plan(plan: dict[str, Any], where: str) -> None:
    """Refuse a plan whose cells have no unique ids, or whose names are no text."""
    cells = plan.get("cells", [])
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise SessionError("column plan_json: cells must be a list of objects", where=where)
    ids = [cell.get("id") for cell in cells]
    if not all(isinstance(cell_id, str) for cell_id in ids) or len(set(ids)) != len(ids):
        raise SessionError("column plan_json: each cell needs an id of its own", where=where)
    for cell in cells:
        if not isinstance(cell.get("label"), str | None):
            raise SessionError("column plan_json: a cell's label must be text", where=where)
