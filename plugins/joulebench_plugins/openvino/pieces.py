"""How many tokens a traced graph with recurrent states reads at once without saying something else.

Tried in another process: what goes wrong there ends that process now and then.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from joulebench_plugins.openvino.feeding import FedModel

#: Tokens read together. Models compute such states by chunks (of 32 tokens and more), and are traced for the one
#: chunk that their sample had: a graph that is given more answers nonsense, and has been seen to end its process.
_PIECE: Final = 16
_PIECES: Final = 3
#: How far logits may lie from those of single tokens, as a share of the largest: rounding in bfloat16 is less.
_OFF: Final = 0.02


def exact_piece(model: FedModel) -> int:
    """As many tokens as are read together with the logits of tokens that are read one by one; else 1."""
    tokens = [(7 * place * place + 3) % model.vocabulary_size for place in range(_PIECES * _PIECE)]
    expected, rows = _logits(model, tokens, 1), _logits(model, tokens, _PIECE)
    agrees = rows is not None and rows.shape == expected.shape
    return _PIECE if agrees and np.abs(rows - expected).max() <= _OFF * np.abs(expected).max() else 1


def _logits(model: FedModel, tokens: list[int], size: int) -> Any:
    """Logits of tokens in pieces; ``None`` where the graph cannot read so many."""
    model.reset()
    model.piece = size
    try:
        return model.rows(tokens)
    except RuntimeError:  # a reshape that fits the traced length only
        return None
    finally:
        model.piece = None
        model.reset()
