"""The types that llama.cpp can write a file in (llama.h, enum llama_ftype)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from joulebench_plugins.shared.tensors.gguf import TYPES


@dataclass(frozen=True, slots=True)
class FileType:
    """Number of the file's type, and the tensors' type that most matrices get in it."""

    number: int
    tensor: str

    @property
    def block(self) -> int:
        """How many neighbours of a row that type packs together."""
        return TYPES[self.tensor][0]


#: By the names of llama.cpp's own tool, in small letters; from many bits to few.
FILE_TYPES: Final = {
    "bf16": FileType(32, "bf16"),
    "f16": FileType(1, "f16"),
    "q8_0": FileType(7, "q8_0"),
    "q6_k": FileType(18, "q6_k"),
    "q5_1": FileType(9, "q5_1"),
    "q5_k_m": FileType(17, "q5_k"),
    "q5_k_s": FileType(16, "q5_k"),
    "q5_0": FileType(8, "q5_0"),
    "q4_1": FileType(3, "q4_1"),
    "q4_k_m": FileType(15, "q4_k"),
    "q4_k_s": FileType(14, "q4_k"),
    "iq4_nl": FileType(25, "iq4_nl"),
    "q4_0": FileType(2, "q4_0"),
    "iq4_xs": FileType(30, "iq4_xs"),
    "q3_k_l": FileType(13, "q3_k"),
    "q3_k_m": FileType(12, "q3_k"),
    "iq3_m": FileType(27, "iq3_s"),
    "q3_k_s": FileType(11, "q3_k"),
    "iq3_s": FileType(26, "iq3_s"),
    "iq3_xs": FileType(22, "iq3_s"),
    "iq3_xxs": FileType(23, "iq3_xxs"),
    "q2_k": FileType(10, "q2_k"),
    "q2_k_s": FileType(21, "q2_k"),
    "iq2_m": FileType(29, "iq2_s"),
    "iq2_s": FileType(28, "iq2_xs"),
    "iq2_xs": FileType(20, "iq2_xs"),
    "iq2_xxs": FileType(19, "iq2_xxs"),
    "iq1_m": FileType(31, "iq1_m"),
    "iq1_s": FileType(24, "iq1_s"),
}
#: Those that llama.cpp refuses to write without an importance matrix (llama-quant.cpp,
#: tensor_requires_imatrix).
NEEDS_IMPORTANCE: Final = frozenset(
    {"iq3_xs", "iq3_xxs", "q2_k_s", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s"}
)
#: What an output head (or the embedding that serves as one) can be asked to be.
HEAD_TYPES: Final = ("f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_0", "q4_k", "q4_0")
