"""Attention weights, computed where a policy has to see them.

Shapes here are those of one sequence with grouped heads: queries (KV heads, queries per KV head,
rows, head size), keys and values (KV heads, entries, head size), weights (KV heads, queries per
KV head, rows, entries). The rows are the last of the sequence, and the entries' last are theirs.
"""

from __future__ import annotations

from typing import Final

import torch

#: Rows of weights that are held at once while a prompt is read: bounds them to so many times the
#: number of positions.
_ROWS: Final = 256


def grouped(query: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """Queries (1, heads, rows, size) by the KV head that they look at, without a copy."""
    _, heads, rows, size = query.shape
    return query[0].view(kv_heads, heads // kv_heads, rows, size)


def weights_of_rows(query: torch.Tensor, keys: torch.Tensor, scaling: float) -> torch.Tensor:
    """Softmax weights in float32 of rows that are the last of those that the keys belong to.

    Row i of r sees all but the r - 1 - i last entries.
    """
    scores = torch.matmul(query, keys[:, None].transpose(-1, -2)) * scaling
    rows, entries = scores.shape[-2:]
    if rows > 1:
        scores.masked_fill_(hidden_entries(rows, entries, query.device), float("-inf"))
    return torch.softmax(scores, dim=-1, dtype=torch.float32)


def hidden_entries(rows: int, entries: int, device: torch.device) -> torch.Tensor:
    """Which entries are later than each of the last ``rows`` rows: (rows, entries), bool."""
    last_seen = torch.arange(entries - rows, entries, device=device)
    return torch.arange(entries, device=device)[None] > last_seen[:, None]


def attend_and_sum(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The attention's output, and what each entry got of all rows: (KV heads, entries), float32.

    As eager attention computes it: float32 softmax, then the values' own number type.
    """
    rows, entries = query.shape[2], keys.shape[1]
    received = torch.zeros(keys.shape[:2], dtype=torch.float32, device=keys.device)
    pieces: list[torch.Tensor] = []
    for start in range(0, rows, _ROWS):
        end = min(start + _ROWS, rows)
        seen = entries - rows + end
        weights = weights_of_rows(query[:, :, start:end], keys[:, :seen], scaling)
        received[:, :seen] += weights.sum(dim=(1, 2))
        pieces.append(torch.matmul(weights.to(values.dtype), values[:, None, :seen]))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2), received
