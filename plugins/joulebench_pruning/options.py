"""The options that the pruning techniques share, and what they may not be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.api import Option, Settings

#: (non-zero weights, group size) along the inputs of a matrix; ``None``: anywhere.
PATTERNS: Final[Mapping[str, tuple[int, int] | None]] = {
    "unstructured": None,
    "2:4": (2, 4),
    "4:8": (4, 8),
}

#: ``builtin:`` texts that quality is judged on.
_JUDGED: Final = frozenset({"builtin:evaluation", "builtin:short", "builtin:prompts"})

SPARSITY: Final = Option(
    "sparsity", "share", 0.5, "share of the weights of each matrix that becomes zero",
    minimum=0.01, maximum=0.99,
)  # fmt: skip
PATTERN: Final = Option(
    "pattern", "str", "unstructured",
    "N:M leaves N non-zero weights in each M neighbours of a row; both have a sparsity of 50 %",
    choices=tuple(PATTERNS),
)  # fmt: skip
CALIBRATION: Final = (
    Option("calibration", "file", "builtin:calibration",
           "text that the activations are taken from; never the one that quality is judged on"),
    Option("sequences", "int", 12, "stretches of the text that are read", minimum=1),
    Option("length", "int", 256, "tokens in each stretch", minimum=2),
    Option("seed", "int", 0, "chooses the stretches", minimum=0),
)  # fmt: skip


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
            Path(str(settings["calibration"])), int(settings["sequences"]),
            int(settings["length"]), int(settings["seed"]),
        )  # fmt: skip


def pattern_fault(settings: Settings) -> str | None:
    """Why sparsity and pattern do not go together, or ``None``."""
    pattern = PATTERNS[str(settings["pattern"])]
    sparsity = float(settings["sparsity"])
    if not 0 < sparsity < 1:
        return f"sparsity must lie between 0 and 1, not at {sparsity:g}"
    if pattern is not None and sparsity != 1 - pattern[0] / pattern[1]:
        return (
            f"pattern {settings['pattern']} is a sparsity of {1 - pattern[0] / pattern[1]:.0%}, "
            f"not {sparsity:.0%}; leave sparsity out"
        )
    return None


def calibration_fault(settings: Settings, config: Mapping[str, object]) -> str | None:
    """Why the calibration cannot be done with this model, or ``None``."""
    text, length = str(settings["calibration"]), int(settings["length"])
    if text in _JUDGED:
        return f"{text} is for judging a model, not for calibration; take builtin:calibration"
    longest = config.get("max_position_embeddings")
    if isinstance(longest, int) and length > longest:
        return f"stretches of {length} tokens are longer than the model's context of {longest}"
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if isinstance(window, int) and length > window:
        return f"stretches of {length} tokens are longer than the sliding window of {window}"
    return None
