"""Calibration: which stretches of which text are read, and their token ids."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.api import Option, Settings
from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.shared.decoder.roles import context_length

#: ``builtin:`` texts that quality is judged on.
_JUDGED: Final = frozenset({"builtin:evaluation", "builtin:short", "builtin:prompts"})

CALIBRATION: Final = (
    Option(
        "calibration",
        "file",
        "builtin:calibration",
        "text for the activations; never the one that quality is judged on",
    ),
    Option("sequences", "int", 12, "sequences of the text that are read", minimum=1),
    Option("length", "int", 256, "tokens in each sequence", minimum=2),
    Option("seed", "int", 0, "chooses the sequences", minimum=0),
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is read for statistics: ``sequences`` stretches of ``length`` tokens."""

    text: Path
    sequences: int
    length: int
    seed: int

    @classmethod
    def of(cls, settings: Settings) -> Calibration:
        """From the options in :data:`CALIBRATION`, the text as a path."""
        return cls(
            Path(str(settings["calibration"])),
            int(settings["sequences"]),
            int(settings["length"]),
            int(settings["seed"]),
        )


def calibration_fault(settings: Settings, config: Mapping[str, object]) -> str | None:
    """Why the calibration cannot be done with this model, or ``None``."""
    text, length = str(settings["calibration"]), int(settings["length"])
    if text in _JUDGED:
        return f"{text} is for judging a model, not for calibration; take builtin:calibration"
    longest = context_length(config)
    if longest is not None and length > longest:
        return f"stretches of {length} tokens are longer than the model's context of {longest}"
    return None


def calibration_tokens(checkpoint: Path, calibration: Calibration) -> list[list[int]]:
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
        text = calibration.text.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot be read for calibration: {error}", where=str(calibration.text)) from None
    ids = list(tokenizer.encode(text, add_special_tokens=False).ids)
    available = len(ids) // calibration.length
    if available < calibration.sequences:
        raise ArtifactError(
            f"is too short for calibration: its {len(ids):,} tokens give {available} sequences of "
            f"{calibration.length}, {calibration.sequences} are wanted",
            where=str(calibration.text),
            hint="set fewer or shorter sequences, or give a longer text",
        )
    chosen = random.Random(calibration.seed).sample(range(available), calibration.sequences)  # noqa: S311
    return [ids[place * calibration.length : (place + 1) * calibration.length] for place in chosen]
