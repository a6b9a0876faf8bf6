"""What onnxruntime's error messages mean."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from joulebench.errors import ModelError

#: How onnxruntime says that memory ran out (core/framework/bfc_arena.cc, and the C++ library).
_NO_MEMORY: Final = ("bad_alloc", "Failed to allocate memory", "Available memory of")
#: What to do about a file that was damaged after it was made.
CONVERT_AGAIN: Final = "delete it; the checkpoint is converted again when it is needed"
_UNKNOWN_OPERATOR: Final = "uses an operator that the installed onnxruntime does not have"
#: A part of onnxruntime's message, what is meant, and what to do.
_FAULTS: Final = (
    (
        "Unsupported model IR version",
        "is of a newer ONNX file format (IR version) than the installed onnxruntime reads",
        "install a newer onnxruntime, or write the model with an older IR version",
    ),
    (
        "for models stamped with official released",
        "uses a newer operator set (opset) than the installed onnxruntime knows",
        "install a newer onnxruntime, or convert the model to an older opset",
    ),
    (
        "ORT format model version",
        "was written in another version of ORT format than the installed onnxruntime reads",
        "convert the ONNX model again with the installed onnxruntime",
    ),
    ("ORT model verification failed", "is no whole ORT-format file", CONVERT_AGAIN),
    ("External data path does not exist", "lacks the file with its weights", CONVERT_AGAIN),
    ("out of bounds or can not be read", "has a truncated file of weights", CONVERT_AGAIN),
    ("External data path", "names a file of weights outside its folder", CONVERT_AGAIN),
    ("Protobuf parsing failed", "is no whole ONNX file", CONVERT_AGAIN),
    ("No graph was found", "is no whole ONNX file", CONVERT_AGAIN),
    ("is not a registered function/op", _UNKNOWN_OPERATOR, "install a newer onnxruntime"),
    ("No Op registered for", _UNKNOWN_OPERATOR, "install a newer onnxruntime"),
)


def plain_error(file: Path, error: Exception) -> Exception:
    """A ModelError with the meaning of an error at loading; MemoryError for lack of memory."""
    if lacks_memory(error):
        return MemoryError(f"not enough memory to load {file}")
    message = str(error)
    for part, meaning, cure in _FAULTS:
        if part in message:
            detail = _detail_in(message)
            return ModelError(meaning + detail, where=str(file), hint=cure)
    return ModelError(f"onnxruntime cannot load it: {message}", where=str(file))


def _detail_in(message: str) -> str:
    """What onnxruntime says of versions and operators, which is the end of its message."""
    for mark in ("Unsupported model IR version", "Current official support", "No Op", "The ORT format model version"):
        if mark in message:
            return f" ({message[message.rindex(mark) :].strip().splitlines()[0]})"
    return ""


def lacks_memory(error: Exception) -> bool:
    """Whether an error of any class says that memory could not be had."""
    return isinstance(error, MemoryError) or any(part in str(error) for part in _NO_MEMORY)
