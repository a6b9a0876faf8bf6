"""The options that the pruning techniques share, and what they may not be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from joulebench.api import Option, Settings

#: (non-zero weights, group size) along the inputs of a matrix, or ``None`` for no pattern.
Pattern: TypeAlias = tuple[int, int] | None
PATTERNS: Final[Mapping[str, Pattern]] = {"unstructured": None, "2:4": (2, 4), "4:8": (4, 8)}

SPARSITY: Final = Option(
    "sparsity", "share", 0.5, "share of the weights of each matrix that becomes zero", minimum=0.01, maximum=0.99
)
PATTERN: Final = Option(
    "pattern",
    "str",
    "unstructured",
    "N:M leaves N non-zero weights in each M neighbours of a row; both have a sparsity of 50 %",
    choices=tuple(PATTERNS),
)


def divides(pattern: Pattern, columns: int) -> bool:
    """Whether rows of so many weights are whole groups of the pattern."""
    return pattern is None or columns % pattern[1] == 0


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
