"""Quantizes a GGUF file, with an importance matrix where one is wanted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joulebench.api import Settings
from joulebench.backendkit import allowed_cores
from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.llamacpp.binding import Binding, ContextOptions, Importance, ModelOptions, QuantizeOptions
from joulebench_plugins.llamacpp.counting import is_matrix
from joulebench_plugins.llamacpp.filetypes import FILE_TYPES
from joulebench_plugins.llamacpp.importance import ProductInputs
from joulebench_plugins.llamacpp.loading import load_binding
from joulebench_plugins.llamacpp.log import LibraryLog
from joulebench_plugins.shared.tensors.gguf import TYPE_NUMBERS, GgufTensor, gguf_in, read_model


def quantize_file(source: Path, target: Path, settings: Settings, module: str | None = None) -> None:
    """Write the GGUF file in ``source`` (a folder or the file) as ``target``.

    ``module`` names the binding to use instead of the preferred one. Raises :class:`ModelError`
    for a source that is no whole file and :class:`ArtifactError` where the library refuses.
    """
    file = gguf_in(source)
    tensors = read_model(file).tensors
    log = LibraryLog()
    binding = load_binding(log, module)
    importance = measure_importance(binding, log, file, tensors, settings) if settings["imatrix"] else None
    head = settings.get("head")
    options = QuantizeOptions(
        file_type=FILE_TYPES[str(settings["type"])].number,
        pure=bool(settings["pure"]),
        head_type=None if head is None else TYPE_NUMBERS[str(head)],
        threads=allowed_cores(),
        importance=importance,
    )
    code = binding.quantize(str(file), str(target), options)
    if code:
        raise ArtifactError(
            f"llama.cpp cannot quantize it: {log.last_errors() or 'it does not say why'}", where=str(file)
        )


def measure_importance(
    binding: Binding, log: LibraryLog, file: Path, tensors: Sequence[GgufTensor], settings: Settings
) -> Importance:
    """Mean squares of what the layers' matrices are multiplied with, on a text.

    As llama.cpp's own tool has it, the output head has none.
    """
    length, sequences = int(settings["length"]), int(settings["sequences"])
    seen = ProductInputs(
        {tensor.name: tensor.sizes for tensor in tensors if tensor.name.startswith("blk.") and is_matrix(tensor)}
    )
    decoder = binding.open(
        str(file),
        ModelOptions(mmap=True, gpu=None, gpu_layers=None),
        ContextOptions(
            context_tokens=length,
            batch_tokens=length,
            ubatch_tokens=length,
            logits_tokens=length,
            threads=allowed_cores(),
            kv_type_k="f32",
            kv_type_v="f32",
            flash_attention="off",
            offload=False,
            watch=seen,
        ),
    )
    if decoder is None:
        raise ModelError(f"llama.cpp cannot load it: {log.last_errors() or 'it does not say why'}", where=str(file))
    try:
        if decoder.context_tokens < length:
            raise ArtifactError(
                f"stretches of {length} tokens are longer than the model's context of {decoder.context_tokens}",
                where=str(file),
            )
        text = Path(str(settings["calibration"]))
        ids = _ids(decoder, text, file)
        for stretch in calibration_stretches(ids, sequences, length, int(settings["seed"]), text):
            decoder.clear()
            decoder.tokens[:length] = stretch
            # Every position's logits: with the last alone, llama.cpp leaves the other positions
            # out of the last layer.
            code = decoder.decode(length, every=True)
            if code:
                raise ArtifactError(f"llama_decode failed with code {code}: {log.last_errors()}")
            seen.raise_failure()
    finally:
        decoder.close()
    return Importance(seen.means(), sequences)


def _ids(decoder: Any, text: Path, file: Path) -> list[int]:
    try:
        ids: list[int] | None = decoder.tokenize(text.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot be read for calibration: {error}", where=str(text)) from None
    if ids is None:
        raise ModelError(
            "has no vocabulary, without which no text can be read for an importance matrix",
            where=str(file),
            hint="set imatrix = false, or give a checkpoint with a tokenizer.json",
        )
    return ids


def calibration_stretches(ids: list[int], sequences: int, length: int, seed: int, text: Path) -> list[list[int]]:
    """Stretches that do not overlap, chosen by the seed."""
    available = len(ids) // length
    if available < sequences:
        raise ArtifactError(
            f"is too short for calibration: its {len(ids):,} tokens give {available} sequences of "
            f"{length}, {sequences} are wanted",
            where=str(text),
            hint="set fewer or shorter sequences, or give a longer text",
        )
    chosen = random.Random(seed).sample(range(available), sequences)  # noqa: S311
    return [ids[place * length : (place + 1) * length] for place in chosen]
