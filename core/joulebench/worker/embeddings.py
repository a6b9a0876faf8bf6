"""In the worker: the embeddings that a reference gives for sentences, kept in a folder, and a comparison with them.

The reference reads each sentence alone, the compared session all of them in one batch: what a batch is
filled up with must not show in the embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.agreement import Comparison, Encoded
from joulebench.api import BackendSession
from joulebench.errors import ModelError, PluginError

_SENTENCES: Final = "sentences.json"
_EMBEDDINGS: Final = "embeddings.npy"


def keeps_embeddings(folder: Path) -> bool:
    """Whether a reference of embeddings is in the folder, and not one of answers."""
    return (folder / _SENTENCES).is_file()


def keep_embeddings(session: BackendSession, sentences: Sequence[list[int]], folder: Path) -> dict[str, object]:
    """Embed each sentence alone and keep that in ``folder``; returns how many there are."""
    import numpy as np

    rows = np.concatenate([_embedded(session, [sentence]) for sentence in sentences])
    np.save(folder / _EMBEDDINGS, rows, allow_pickle=False)
    (folder / _SENTENCES).write_text(json.dumps(list(sentences)), encoding="utf-8")
    return {"prompts": len(sentences), "smallest_gap": None}


def compare_embeddings(session: BackendSession, folder: Path) -> Comparison:
    """The cosine of each embedding with the reference's. Raises :class:`PluginError` for another size."""
    import numpy as np

    sentences = json.loads((folder / _SENTENCES).read_text(encoding="utf-8"))
    kept = np.load(folder / _EMBEDDINGS, allow_pickle=False)
    own = _embedded(session, sentences)
    if own.shape != kept.shape:
        raise PluginError(f"its embeddings have {own.shape[1]} numbers, the reference's {kept.shape[1]}")
    cosines = (own * kept).sum(-1) / (np.linalg.norm(own, axis=-1) * np.linalg.norm(kept, axis=-1))
    return Comparison(len(sentences), 0, (), None, Encoded(float(cosines.mean()), float(cosines.min())))


def _embedded(session: BackendSession, sentences: Sequence[list[int]]) -> Any:
    import numpy as np

    rows = np.asarray(session.encode(sentences), dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(sentences):
        raise PluginError(f"embeddings of {len(sentences)} sentences came in the shape {rows.shape}")
    if not np.isfinite(rows).all() or not rows.any(axis=-1).all():
        raise ModelError("its embeddings are not finite, or zero")
    return rows
