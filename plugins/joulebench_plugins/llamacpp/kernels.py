"""In what numbers llama.cpp's CPU kernels multiply, asked of the library itself.

A product with a matrix first rounds its inputs to the type that the matrix's type is multiplied
with (``vec_dot_type`` of ``ggml_type_traits_cpu``, ggml-cpu.h): for quantized types that is Q8_0,
Q8_1 or Q8_K, whose whole numbers are multiplied with those of the matrix; nothing is dequantized
first. The repacked kernels of ggml-cpu (repack.cpp) take their inputs in the same types.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from joulebench.weightkit import joined
from joulebench_plugins.shared.tensors.gguf import TYPE_NUMBERS

_MAPS: Final = Path("/proc/self/maps")
_CPU_LIBRARY: Final = "libggml-cpu"
_NAMES: Final = {number: name for name, number in TYPE_NUMBERS.items()}
#: Number types by the type of the inputs; the 8-bit ones hold int8 and scales.
_NUMBERS: Final = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "q8_0": "int8",
    "q8_1": "int8",
    "q8_k": "int8",
}


class _Traits(ctypes.Structure):
    """``struct ggml_type_traits_cpu`` (ggml-cpu.h)."""

    _fields_ = (
        ("from_float", ctypes.c_void_p),
        ("vec_dot", ctypes.c_void_p),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    )


def input_types(kinds: Iterable[str]) -> dict[str, str] | None:
    """The type that inputs are rounded to, by the matrix's type; ``None`` if it cannot be asked.

    The library must be loaded in this process.
    """
    library = _cpu_library()
    if library is None:
        return None
    get = library["ggml_get_type_traits_cpu"]
    get.restype, get.argtypes = ctypes.POINTER(_Traits), [ctypes.c_int]
    inputs: dict[str, str] = {}
    for kind in kinds:
        number = get(TYPE_NUMBERS[kind]).contents.vec_dot_type
        if number not in _NAMES:
            return None
        inputs[kind] = _NAMES[number]
    return inputs


def computed_in(inputs: Iterable[str]) -> str:
    """Number types that products are computed in: ``int8``, ``float32``, …"""
    return joined(_NUMBERS.get(kind, kind) for kind in inputs)


def _cpu_library() -> ctypes.CDLL | None:
    """The part of the library that computes on a CPU, by the file that is mapped already."""
    try:
        lines = _MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    paths = {line.split(maxsplit=5)[-1] for line in lines if f"/{_CPU_LIBRARY}" in line}
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
            library["ggml_get_type_traits_cpu"]
        except (OSError, AttributeError):
            continue
        return library
    return None
