"""Scores of SentencePiece pieces, recovered from the order of merges in ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from joulebench.errors import ArtifactError

_NORMAL: Final = 1  # gguf.constants.TokenType


def piece_scores(
    tokens: Sequence[str], types: Sequence[int], merges: Sequence[tuple[str, str]], file: Path
) -> tuple[float, ...]:
    """A score for each token: 0 for one that no merge makes, less the later it is made.

    SentencePiece joins two neighbours whenever their union is a piece, the piece of the highest
    score first. ``tokenizer.json`` lists pairs in that order instead. Both do the same where each
    way to cut a piece in two pieces is listed, and all ways to make one piece stand together;
    what transformers makes of a SentencePiece model is so, and anything else is refused.
    """
    order: dict[str, int] = {}
    previous = None
    for left, right in merges:
        piece = left + right
        if piece != previous and piece in order:
            raise _refusal(file, f"merges that make '{piece}' stand apart")
        order.setdefault(piece, len(order) + 1)
        previous = piece
    known = {token for token, kind in zip(tokens, types, strict=True) if kind == _NORMAL}
    listed = set(merges)
    for piece in known:
        for place in range(1, len(piece)):
            pair = (piece[:place], piece[place:])
            if pair[0] in known and pair[1] in known and pair not in listed:
                raise _refusal(file, f"no merge makes '{piece}' of '{pair[0]}' and '{pair[1]}'")
    return tuple(-float(order.get(token, 0)) for token in tokens)


def _refusal(file: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"byte-fallback BPE that is no SentencePiece model: {what}",
        where=str(file),
        hint="llama.cpp would cut texts differently",
    )
