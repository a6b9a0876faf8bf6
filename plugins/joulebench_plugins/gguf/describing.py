"""What a GGUF model says of itself, in the words of a ``config.json`` and in a line for people."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from joulebench.api import ModelFile
from joulebench.errors import ArtifactError, ModelError
from joulebench.weightkit import bits_per_weight, counted, shares
from joulebench_plugins.gguf.metadata import config_of, read_shape, read_special_ids
from joulebench_plugins.gguf.reading import GgufMetadata
from joulebench_plugins.shared.tensors.gguf import GgufModel, file_type_name

#: GGUF's names, behind that of the architecture, and those of ``config.json``.
_KEYS: Final = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
}
_FLOATS: Final = ("F32", "F16", "BF16")


def describe_model(path: Path) -> ModelFile:
    """Read the headers. Raises :class:`ModelError` for a model that is not whole."""
    metadata = GgufMetadata(path)
    model = metadata.model
    name = file_type_name(model.values)
    return ModelFile(
        files=model.files,
        size_bytes=model.size_bytes,
        config=_llama_config(metadata) or _known_config(model),
        numbers=_numbers(model, name),
        quantization=None if name in _FLOATS else name,
        tokenizer=model.has_vocabulary,
    )


def _llama_config(metadata: GgufMetadata) -> dict[str, object] | None:
    """``config.json`` as the importer would write it; ``None`` for a model that it would not import."""
    try:
        return config_of(read_shape(metadata), read_special_ids(metadata), "bfloat16")
    except ArtifactError:
        return None


def _known_config(model: GgufModel) -> dict[str, object]:
    """As much of a ``config.json`` as any architecture's metadata tell."""
    if model.architecture is None:
        raise ModelError("metadata lacks 'general.architecture'", where=str(model.files[0]))
    sizes = {key: model.size(source) for source, key in _KEYS.items()}
    known: dict[str, object] = {key: size for key, size in sizes.items() if size is not None}
    return {"architectures": [model.architecture], "model_type": model.architecture, **known}


def _numbers(model: GgufModel, name: str | None) -> str:
    """``Q4_K_M, 5.10 bits per weight``; what its tensors are where the file names no type."""
    bits = bits_per_weight(sum(tensor.size_bytes for tensor in model.tensors), model.parameters)
    named = name or shares(counted((tensor.type, tensor.count) for tensor in model.tensors))
    return ", ".join([named or "no tensors", *([] if bits is None else [f"{bits:.2f} bits per weight"])])
