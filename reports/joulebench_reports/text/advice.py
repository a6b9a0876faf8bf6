"""Advice in words, and for machines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Final

from joulebench_reports.data.jsonformat import finite
from joulebench_reports.judging.advice import AS_GOOD, Advice, RankedCell
from joulebench_reports.values.pareto import Front
from joulebench_reports.words.text import MARKS, data_size, number, plain

_FORMAT: Final = "joulebench-advice"
_FORMAT_VERSION: Final = 2
_AIMS: Final = {"energy": "energy", "time": "time a unit", "memory": "peak memory"}
_OBJECTIVES: Final = {"energy": "energy", "loss": "loss of perplexity", "memory": "peak memory", "time": "time a unit"}


def as_text(advice_list: Sequence[Advice]) -> str:
    """The advice for a terminal."""
    return "\n\n".join("\n".join(_lines(advised)) for advised in advice_list) + "\n"


def _lines(advice: Advice) -> list[str]:
    aim = _AIMS[advice.aim]
    if advice.aim == "energy" and advice.provenance is not None:
        aim = f"{advice.provenance} energy"
    lines = [f"{plain(advice.model)}, {plain(advice.workload)}: least {aim}"]
    best = advice.best
    if not advice.ranked:
        lines.append("  No cell is left to advise.")
    elif best is None:
        lines += _undecided(advice)
    else:
        lines.append(f"  Deploy {plain(best.label)}: {_figures(best, advice)}")
        lines += [f"    but {doubt}" for doubt in best.doubts]
        lines += _others(advice)
    lines += _front(advice.front)
    if advice.max_loss is not None:
        lines.append(f"  Quality: at most {advice.max_loss:+.0%} perplexity over the uncompressed model (--max-loss)")
    if advice.refused:
        lines.append("  Not considered:")
        lines += [f"    {plain(label)}: {plain(why)}" for label, why in advice.refused]
    return lines


def _undecided(advice: Advice) -> list[str]:
    """Why there is no recommendation, and what would allow one."""
    first = advice.ranked[0]
    lines = [f"  No recommendation: what is shown does not tell which is best. Run again with {advice.cure}."]
    lines.append(f"  Lowest estimate: {plain(first.label)}: {_figures(first, advice)}")
    lines.append("  Not told from it:")
    return lines + [_other(cell, advice) for cell in advice.undecided] + _others(advice)


def _others(advice: Advice) -> list[str]:
    """Those of which no difference is shown, and the first that is surely behind."""
    lines: list[str] = []
    if advice.as_good:
        lines.append(f"  As good, as far as {AS_GOOD:.0%} would have been seen:")
        lines += [_other(cell, advice) for cell in advice.as_good]
    behind = next((cell for cell in advice.ranked if cell.standing == "behind"), None)
    return lines if behind is None else [*lines, "  Next:", _other(behind, advice)]


def _other(choice: RankedCell, advice: Advice) -> str:
    unit = " (time)" if advice.aim == "time" else ""
    verdict = "" if choice.verdict is None else f"{plain(choice.verdict.text)}{unit}; "
    return f"    {plain(choice.label)}: {verdict}{_figures(choice, advice)}"


def _figures(choice: RankedCell, advice: Advice) -> str:
    mark = MARKS.get(advice.provenance or "measured", "")
    energy = f"{number(choice.energy)} {choice.unit} {mark}".strip()
    rate = f"{number(choice.rate)} {choice.rate_unit}"
    parts = [
        None if choice.energy is None else energy,
        None if choice.rate is None else rate,
        None if choice.memory_bytes is None else data_size(choice.memory_bytes),
        None if choice.loss is None else f"perplexity {choice.loss:+.1%}",
    ]
    return ", ".join(part for part in parts if part is not None)


def _front(front: Front) -> list[str]:
    if not front.objectives:
        return []
    names = ", ".join(_OBJECTIVES[objective] for objective in front.objectives)
    lines = [f"  Pareto front ({names}): {', '.join(map(plain, front.on)) or 'empty'}"]
    lines += [f"    off it: {plain(a)}; {plain(b)} is preferable" for a, b in front.off]
    lines += [f"    not placed: {plain(a)}, whose {plain(b)} is unknown" for a, b in front.unplaced]
    if front.left_out:
        unknown = ", ".join(_OBJECTIVES[cell] for cell in front.left_out)
        lines.append(f"    left out, since no cell has it: {unknown}")
    return lines


def as_json(advised: Sequence[Advice]) -> str:
    """One JSON object; unknown is null."""
    document = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "advice": [
            {
                **dataclasses.asdict(advice),
                "best": None if advice.best is None else advice.best.label,
                "as_good": [cell.label for cell in advice.as_good],
                "undecided": [cell.label for cell in advice.undecided],
                "cure": advice.cure,
            }
            for advice in advised
        ],
    }
    return json.dumps(finite(document), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
