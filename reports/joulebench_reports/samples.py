"""The first prompts and answers of each cell, for a reader to judge with their own eyes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from joulebench_reports.figures import CellSummary
from joulebench_reports.markup import Child, Element, h
from joulebench_reports.wording import seconds

if TYPE_CHECKING:
    from joulebench.session import Session

#: Requests shown of each cell, and characters of a text.
MOST_REQUESTS = 3
MOST_CHARACTERS = 2000


def request_samples(session: Session, cells: Sequence[CellSummary]) -> Element | None:
    """Folded samples by cell; ``None`` where no request has text."""
    found = [(cell, _first(session, cell.id)) for cell in cells]
    parts = [
        h(
            "details",
            h("summary", plain(cell.label)),
            *(child for row in rows for child in _request(row)),
        )
        for cell, rows in found
        if rows
    ]
    return h("div", *parts) if parts else None


def _first(session: Session, cell_id: str) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    columns = ["block", "request", "prefill_tokens", "decode_tokens", "ttft_s", "duration_s",
               "device_ttft_s", "device_s"]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for batch in session.scan("requests", cell_id, [*columns, "prompt", "response"]):
        text = pc.or_(pc.is_valid(batch.column("prompt")), pc.is_valid(batch.column("response")))
        rows += batch.filter(text).slice(0, most - len(rows)).to_pylist()
        if len(rows) >= most:
            break
    return rows


def _request(row: dict[str, Any], characters: int) -> list[Child]:
    simulated = row["device_s"] is not None
    ttft_s, all_s = (row["device_ttft_s"], row["device_s"]) if simulated else (
        row["ttft_s"], row["duration_s"]
    )  # fmt: skip
    facts = (
        f"block {row['block']}, request {row['request']}: {row['prefill_tokens']} prompt tokens, "
        f"{row['decode_tokens']} tokens after the first, TTFT {seconds(ttft_s)}, "
        f"{seconds(all_s)} in all{' (simulated)' * simulated}"
    )
    return [
        h("p", facts, class_="facts"),
        h("blockquote", h("b", "Prompt"), h("pre", _cut(row["prompt"]))),
        h("blockquote", h("b", "Answer"), h("pre", _cut(row["response"]))),
    ]


def _cut(text: str | None) -> str:
    if text is None:
        return "not recorded"
    rest = len(text) - MOST_CHARACTERS
    return text if rest <= 0 else f"{text[:MOST_CHARACTERS]} … ({rest} more characters)"
