"""The first prompts and answers of each cell, for a reader to judge with their own eyes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from joulebench_reports.html.folding import MOST_WRITTEN, Fold, folds
from joulebench_reports.html.markup import Child, Element, h
from joulebench_reports.summary.joining import Sources
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import seconds

if TYPE_CHECKING:
    from joulebench.session.files import Session

#: Requests shown of each cell, and characters of a text; less where there are many cells.
MOST_REQUESTS: Final = 3
MOST_CHARACTERS: Final = 2000
_FEW_REQUESTS: Final = 1
_FEW_CHARACTERS: Final = 400


def request_samples(sources: Sources, cells: Sequence[CellSummary]) -> Element | None:
    """Folded samples by cell; ``None`` where no request has text."""
    many = len(cells) > MOST_WRITTEN
    requests = _FEW_REQUESTS if many else MOST_REQUESTS
    characters = _FEW_CHARACTERS if many else MOST_CHARACTERS
    found = [(cell, _first(*sources.of(cell), requests)) for cell in cells]
    parts = [
        Fold(cell.label, [child for row in rows for child in _request(row, characters)]) for cell, rows in found if rows
    ]
    return folds("requests-data", parts) if parts else None


def _first(session: Session, cell_id: str, most: int) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    columns = [
        "block",
        "request",
        "prefill_tokens",
        "decode_tokens",
        "ttft_s",
        "duration_s",
        "device_ttft_s",
        "device_s",
    ]
    rows: list[dict[str, Any]] = []
    for batch in session.scan("requests", cell_id, [*columns, "prompt", "response"]):
        text = pc.or_(pc.is_valid(batch.column("prompt")), pc.is_valid(batch.column("response")))
        rows += batch.filter(text).slice(0, most - len(rows)).to_pylist()
        if len(rows) >= most:
            break
    return rows


def _request(row: dict[str, Any], characters: int) -> list[Child]:
    simulated = row["device_s"] is not None
    ttft_s, all_s = (row["device_ttft_s"], row["device_s"]) if simulated else (row["ttft_s"], row["duration_s"])
    facts = (
        f"block {row['block']}, request {row['request']}: {row['prefill_tokens']} prompt tokens, "
        f"{row['decode_tokens']} tokens after the first, TTFT {seconds(ttft_s)}, "
        f"{seconds(all_s)} in all{' (simulated)' * simulated}"
    )
    return [
        h("p", facts, class_="facts"),
        h("blockquote", h("b", "Prompt"), h("pre", _cut(row["prompt"], characters))),
        h("blockquote", h("b", "Answer"), h("pre", _cut(row["response"], characters))),
    ]


def _cut(text: str | None, characters: int) -> str:
    if text is None:
        return "not recorded"
    rest = len(text) - characters
    return text if rest <= 0 else f"{text[:characters]} … ({rest} more characters)"
