"""The first prompts and answers of each cell, for readers to judge with their own eyes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from joulebench.session.tables import RequestRow
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Fold, Folds, Item, Paragraph, Quote, Section
from joulebench_reports.words.text import seconds

if TYPE_CHECKING:
    from joulebench.session import Session

#: Requests shown of each cell, and characters of a text; less where there are many cells.
_REQUESTS: Final = 3
_CHARACTERS: Final = 2000
_MANY_CELLS: Final = 48
_REQUESTS_OF_MANY: Final = 1
_CHARACTERS_OF_MANY: Final = 400
_COLUMNS: Final = (
    "cell_id",
    "block",
    "request",
    "prefill_tokens",
    "decode_tokens",
    "ttft_s",
    "duration_s",
    "device_ttft_s",
    "device_s",
    "prompt",
    "response",
)


def samples_section(material: Material) -> Iterator[Section]:
    """A folded part for each cell that has a request with text."""
    cells, sources = material.summary.shown, material.sources
    if sources is None:
        return
    many = len(cells) > _MANY_CELLS
    requests, characters = (_REQUESTS_OF_MANY, _CHARACTERS_OF_MANY) if many else (_REQUESTS, _CHARACTERS)
    rows = ((cell.label, _first_with_text(*sources.of(cell), requests)) for cell in cells)
    parts = tuple(
        Fold(label, tuple(item for row in own for item in _request(row, characters))) for label, own in rows if own
    )
    if parts:
        yield Section("requests", "Sample requests", (Folds("requests-data", parts),), "Requests")


def _first_with_text(session: Session, cell_id: str, most: int) -> list[RequestRow]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from joulebench.session.conversion import rows_of

    rows: list[RequestRow] = []
    for batch in session.scan("requests", cell_id, list(_COLUMNS)):
        text = pc.or_(pc.is_valid(batch.column("prompt")), pc.is_valid(batch.column("response")))
        own = pa.Table.from_batches([batch.filter(text).slice(0, most - len(rows))])
        rows += rows_of(own, RequestRow, f"requests of {cell_id}")
        if len(rows) >= most:
            break
    return rows


def _request(row: RequestRow, characters: int) -> Iterator[Item]:
    simulated = row.device_s is not None
    ttft_s, all_s = (row.device_ttft_s, row.device_s) if simulated else (row.ttft_s, row.duration_s)
    yield Paragraph(
        f"block {row.block}, request {row.request}: {row.prefill_tokens} prompt tokens, "
        f"{row.decode_tokens} tokens after the first, TTFT {seconds(ttft_s)}, "
        f"{seconds(all_s)} in all{' (simulated)' if simulated else ''}"
    )
    yield Quote("Prompt", _beginning(row.prompt, characters))
    yield Quote("Answer", _beginning(row.response, characters))


def _beginning(text: str | None, characters: int) -> str:
    if text is None:
        return "not recorded"
    rest = len(text) - characters
    return text if rest <= 0 else f"{text[:characters]} … ({rest} more characters)"
