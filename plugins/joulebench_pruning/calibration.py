"""Token ids of stretches of a text, as calibration reads them."""

from __future__ import annotations

import random
from pathlib import Path

from joulebench.errors import ArtifactError, ModelError
from joulebench_pruning.options import Calibration


def calibration_tokens(checkpoint: Path, wanted: Calibration) -> list[list[int]]:
    """Stretches that do not overlap, chosen by the seed, by the checkpoint's own tokenizer.

    Raises :class:`ArtifactError` where the text is too short for them.
    """
    from tokenizers import Tokenizer

    file = checkpoint / "tokenizer.json"
    if not file.is_file():
        raise ModelError(
            "has no tokenizer.json, without which no text can be read for calibration",
            where=str(checkpoint),
            hint="take a technique that looks at the weights alone",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare Exception
        raise ModelError(f"cannot be read: {error}", where=str(file)) from None
    try:
        text = wanted.text.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"cannot be read for calibration: {error}", where=str(wanted.text)
        ) from None
    ids = list(tokenizer.encode(text, add_special_tokens=False).ids)
    found = len(ids) // wanted.length
    if found < wanted.sequences:
        raise ArtifactError(
            f"is too short for calibration: its {len(ids):,} tokens give {found} sequences of "
            f"{wanted.length}, {wanted.sequences} are wanted",
            where=str(wanted.text),
            hint="set fewer or shorter sequences, or give a longer text",
        )
    chosen = random.Random(wanted.seed).sample(range(found), wanted.sequences)  # noqa: S311
    return [ids[place * wanted.length : (place + 1) * wanted.length] for place in chosen]
