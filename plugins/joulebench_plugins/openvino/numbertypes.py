"""Words for the library's number types, and its names for ours."""

from __future__ import annotations

from typing import Final

#: Signed or not, a number of 8 bits is one of 8 bits.
_WORDS: Final = {
    **{"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64"},
    **{"i8": "int8", "u8": "int8", "I8": "int8", "i4": "int4", "u4": "int4"},
}
#: What leaves a choice to the library.
LIBRARY: Final = "library"
#: What the library is asked for.
ASKED: Final = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "u8", "int4": "u4"}
#: Types of packed weights.
PACKED: Final = frozenset({"int8", "int4"})


def word(name: str) -> str:
    """The word for a type of the library; the library's own where there is none."""
    return _WORDS.get(name, name)
