"""The page's part on techniques: tables by backend, claims, fronts."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench_reports.html.markup import Child, h
from joulebench_reports.html.sections import table
from joulebench_reports.values import claims
from joulebench_reports.values import techniques as techniquetable
from joulebench_reports.words.text import plain


def part(tables: Sequence[techniquetable.CostTable]) -> list[Child]:
    """The elements of all models and workloads."""
    return [child for each in tables for child in _table(each)]


def _table(found: techniquetable.CostTable) -> list[Child]:
    body: list[Child] = [h("h3", found.caption)]
    body += [h("p", note, class_="facts") for note in found.notes]
    for each in found.backends:
        rows = techniquetable.rows(each)
        body += [h("h4", plain(each.backend)), table(techniquetable.HEADER, rows, numeric_from=1)]
    judged = [(each.text, each.verdict, each.why) for each in found.claims]
    body += [h("h4", "Claims of the survey"), table(claims.HEADER, judged)]
    fronts = techniquetable.front_lines(found)
    if fronts:
        body += [h("h4", "Pareto fronts"), table(("weighed", "cells that nothing beats"), fronts)]
    missing = techniquetable.missing(found)
    if missing:
        body += [h("h4", "Unknown, and why"), table(("what", "why"), missing)]
    return body
