"""The options that the quantization techniques share, and what they may not be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from joulebench.api import Option, Settings

#: What GGUF and MatMulNBits have blocks for is a multiple of this.
BLOCK: Final = 32


def bits_option(default: int) -> Option:
    """Bits of an integer."""
    return Option("bits", "int", default, "bits of each integer", choices=(8, 4, 3, 2))


def group_option(default: int) -> Option:
    """Weights that share a scale."""
    return Option(
        "group",
        "int",
        default,
        "neighbours in a row that share a scale; 0: the whole row, one scale for each output",
        choices=(0, 32, 64, 128),
    )


def clip_option(default: str) -> Option:
    """How a group's scale is chosen."""
    return Option(
        "clip",
        "str",
        default,
        "none: the scale represents a group's largest weight exactly; search: the scale with the "
        "smallest squared error, which may clip it",
        choices=("none", "search"),
    )


#: What else is rounded.
EMBEDDING: Final = Option(
    "embedding",
    "str",
    "float",
    "the embedding and the output head: unchanged, or rounded to 8 bits in groups of 32",
    choices=("float", "int8"),
)
DAMPING: Final = Option(
    "damping",
    "float",
    0.01,
    "what GPTQ adds to the diagonal of the Hessian, as a fraction of its mean",
    minimum=1e-6,
    maximum=10.0,
)
# Without it, an input channel that is much larger than the others may come late, when few columns
# are left to correct its error: on the embedded model GPTQ is then no better than plain rounding.
ACT_ORDER: Final = Option("act_order", "bool", True, "GPTQ rounds the columns with the largest inputs first")


def rounding_option(*choices: str) -> Option:
    """What is done after the weights are made easier to round; the first is the default."""
    words = {
        "nearest": "nearest: each weight to the nearest number",
        "gptq": "gptq: with GPTQ's corrections",
        "none": "none: not at all, so that a later step of a chain can do it",
    }
    return Option("rounding", "str", choices[0], "; ".join(words[choice] for choice in choices), choices=choices)


def grid_fault(settings: Settings, widths: Iterable[int], hidden: object) -> str | None:
    """Why groups do not fit matrices of these widths, or ``None``."""
    group = int(settings["group"])
    if settings.get("rounding") != "none":
        for width in sorted(widths):
            if group and width % group:
                return f"groups of {group} do not divide matrices that are {width} wide"
    if settings["embedding"] == "int8" and isinstance(hidden, int) and hidden % BLOCK:
        return f"groups of {BLOCK} do not divide an embedding that is {hidden} wide"
    return None
