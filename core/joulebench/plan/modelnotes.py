"""What the plan and the reports say of a model: its file, what becomes of its numbers, whether it fits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from joulebench.api import Converter, ModelFile
from joulebench.errors import JoulebenchError
from joulebench.models.catalogue import CHECKPOINT_FORMAT, ModelRef
from joulebench.models.making import Transform
from joulebench.models.shapes import NUMBER_BYTES, Shape
from joulebench.registry.loading import Registry

#: Share of the memory that weights may take: what makes them is ended at as much of the free memory.
MOST: Final = 0.9
#: The share where layers are proposed: activations and the cache need some of the rest.
ROOM: Final = 0.75


def file_formats(converters: Iterable[Converter]) -> dict[str, str]:
    """Formats of models that a user may have as files, by their ending: what converters read or write but checkpoints.

    Files end in the format's name unless a converter that writes it says otherwise.
    """
    known = tuple(converters)
    endings = {format_: format_ for converter in known for format_ in (converter.source, converter.target)}
    endings |= {converter.target: converter.target_ending for converter in known if converter.target_ending is not None}
    return {ending: format_ for format_, ending in endings.items() if format_ != CHECKPOINT_FORMAT}


def described(converters: Sequence[Converter], ref: ModelRef) -> ModelRef:
    """The model with what its own file says of itself, by the first converter that reads its format, or writes it.

    Raises :class:`~joulebench.errors.ModelError` for a model that is not whole.
    """
    path = ref.path
    if path is None or not ref.runs_as_it_is:
        return ref
    readers = [converter for converter in converters if converter.source == ref.format]
    writers = [converter for converter in converters if converter.target == ref.format]
    answers = (converter.describe(path) for converter in (*readers, *writers))
    file = next((file for file in answers if file is not None), None)
    return ref if file is None else replace(ref, file=file, config=file.config, weights_bytes=file.size_bytes)


def model_notes(
    registry: Registry, ref: ModelRef, path: Path | None, backend: str, transforms: Sequence[Transform]
) -> list[str]:
    """What becomes of the numbers of a model that is here (at ``path``) on its way to a backend, in words.

    And whether there is memory for them.
    """
    return [*_number_notes(registry, ref, path, backend, transforms), *_memory_notes(ref.weights_bytes)]


def _memory_notes(weights_bytes: int | None) -> Iterator[str]:
    memory_bytes = machine_memory_bytes()
    if weights_bytes is not None and weights_bytes > memory_bytes:
        yield (
            f"larger than this machine's memory: {weights_bytes / 1e9:,.1f} GB of weights, "
            f"{memory_bytes / 1e9:,.1f} GB of memory; each token would read from the disk, if it opens at all"
        )


def memory_fault(ref: ModelRef, shape: Shape | None, dtype: object) -> str | None:
    """Why a model of random weights is not made: its weights are more than this machine's memory, or ``None``.

    ``dtype`` is the number type in which the backend holds them, where it has such a setting. Others
    are not refused: a library may map their files.
    """
    if shape is None or shape.parameters is None or ref.weights_bytes is None:
        return None
    width = max(NUMBER_BYTES.get(str(dtype), 0), ref.weights_bytes / shape.parameters)
    needed_bytes, memory_bytes = width * shape.parameters, machine_memory_bytes()
    if needed_bytes <= MOST * memory_bytes:
        return None
    fault = (
        f"too large: {needed_bytes / 1e9:,.1f} GB of weights, {memory_bytes / 1e9:,.1f} GB of memory on this machine"
    )
    depths = shape.depths(ROOM * memory_bytes * ref.weights_bytes / needed_bytes)
    if depths is None:
        return f"{fault}, and not even two of its layers fit"
    return f"{fault}; layers = [{depths[0]}, {depths[1]}] measures so many of its layers and extrapolates the whole"


def machine_memory_bytes() -> int:
    """Memory of this machine, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _number_notes(
    registry: Registry, ref: ModelRef, path: Path | None, backend: str, transforms: Sequence[Transform]
) -> list[str]:
    converted = bool(transforms) and transforms[0].kind == "converter"
    if ref.runs_as_it_is and not converted:
        return [] if ref.file is None else [f"as it is on {backend}: {_file_text(ref.file)}"]
    if path is None or not converted:
        return []
    try:
        note = registry.converter(transforms[0].name).note(path, transforms[0].settings)
    except JoulebenchError:
        return []  # a damaged file: the conversion says what is wrong with it
    if not note:
        return []
    return [f"weights {note} for {backend}" if ref.runs_as_it_is else f"weights {note}"]


def _file_text(file: ModelFile) -> str:
    return f"{file.numbers}, {file.size_bytes / 1e6:,.1f} MB"
