"""A GGUF file written from a checkpoint, one tensor in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.gguf.blocks import BLOCK, BYTES, TYPES, in_blocks
from joulebench_plugins.gguf.metadata import SpecialIds
from joulebench_plugins.gguf.numbertypes import Array, encoder
from joulebench_plugins.gguf.tensors import listed, rotated_heads, tensor_names, tensor_sizes
from joulebench_plugins.gguf.vocabulary import Vocabulary
from joulebench_plugins.shared.llama.shape import LlamaShape
from joulebench_plugins.shared.tensors.arrays import Checkpoint
from joulebench_plugins.shared.tensors.integers import IntegerFile, Integers

#: What the gguf package calls each type, for a tensor and for a file that is mostly of it.
_TYPES: Final = {"float32": ("F32", "ALL_F32"), "float16": ("F16", "MOSTLY_F16"), "bfloat16": ("BF16", "MOSTLY_BF16")}
_WIDTHS: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
_FREQUENCIES: Final = "rope_freqs.weight"


def write_gguf(
    path: Path,
    checkpoint: Checkpoint,
    shape: LlamaShape,
    *,
    vocabulary: Vocabulary | None,
    ids: SpecialIds,
    factors: Sequence[float] | None,
    dtype: str,
    integers: IntegerFile | None = None,
) -> None:
    """Write metadata, vocabulary and tensors. The same checkpoint gives the same bytes.

    ``factors`` divide the rotation frequencies (rope type llama3). A matrix that has ``integers``
    in groups of a multiple of 32 is written in blocks of them; others get ``dtype``.
    """
    import gguf
    import numpy as np

    names = _source_names(checkpoint, shape)
    # use_temp_file off and infos before numbers: nothing but the tensor being written is held.
    writer = gguf.GGUFWriter(path, "llama")
    packed = {} if integers is None else integers.packable(BLOCK)
    _add_shape(writer, shape, gguf.LlamaFileType[_file_type(dtype, packed)])
    _add_vocabulary(writer, ids, vocabulary)
    types: dict[str, str] = {}
    sizes = tensor_sizes(shape)
    for name, size in sizes.items():
        kind = dtype if len(size) > 1 else "float32"
        types[name] = TYPES[packed[names[name]]] if names[name] in packed else kind
        writer.add_tensor_info(
            name,
            size,
            np.dtype(np.float32),
            _bytes_of(types[name], int(np.prod(size))),
            raw_dtype=gguf.GGMLQuantizationType[_TYPES.get(types[name], (types[name],))[0]],
        )
    if factors is not None:
        writer.add_tensor_info(_FREQUENCIES, (len(factors),), np.dtype(np.float32), 4 * len(factors))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, source in names.items():
        values = checkpoint.tensor(source, sizes[name])
        if integers is not None and source in packed:
            blocks = _in_blocks(shape, name, integers.matching(source, values), types[name])
            writer.write_tensor_data(blocks)
            continue
        values = _interleaved(shape, name, values)
        try:
            writer.write_tensor_data(np.ascontiguousarray(encoder(types[name])(values)))
        except OverflowError as error:
            raise ArtifactError(
                f"{source}: {error}", where=str(checkpoint.folder), hint="set dtype to bfloat16 or float32"
            ) from error
    if factors is not None:
        writer.write_tensor_data(np.array(factors, np.float32))
    writer.close()


def _source_names(checkpoint: Checkpoint, shape: LlamaShape) -> dict[str, str]:
    """Transformers' name for each tensor to write; refuses a checkpoint that has others."""
    names = tensor_names(shape)
    sizes = tensor_sizes(shape)
    present = checkpoint.names()
    where = str(checkpoint.folder)
    missing = [name for name in names.values() if name not in present]
    if missing:
        raise ModelError(listed("lacks tensors", missing), where=where)
    # A tied head is the embedding once more; old checkpoints keep the rope's frequencies.
    harmless = {"lm_head.weight"} if shape.tie_word_embeddings else set()
    unknown = sorted(
        name for name in present - set(names.values()) - harmless if not name.endswith("rotary_emb.inv_freq")
    )
    if unknown:
        raise ArtifactError(listed("has tensors that a llama model has not", unknown), where=where)
    for name, source in names.items():
        if checkpoint.shape(source) != sizes[name]:
            raise ModelError(
                f"tensor '{source}' is {checkpoint.shape(source)}; config.json says {sizes[name]}", where=where
            )
    return names


def _interleaved(shape: LlamaShape, name: str, values: Array) -> Array:
    """The tensor with the rows of a head in GGUF's order.

    Transformers keeps the two halves that a rotation pairs apart (row i with i + head_dim / 2),
    GGUF puts them side by side (row 2i with 2i + 1).
    """
    heads = rotated_heads(shape, name)
    if heads is None:
        return values
    halves = values.reshape(heads, 2, shape.head_dim // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _in_blocks(shape: LlamaShape, name: str, matrix: Integers, kind: str) -> Array:
    """The integers and scales in blocks, their rows in GGUF's order."""
    rows = (_interleaved(shape, name, array) for array in (matrix.integers, matrix.scales))
    return in_blocks(Integers(matrix.bits, *rows), kind)


def _bytes_of(kind: str, count: int) -> int:
    return count // BLOCK * BYTES[kind] if kind in BYTES else count * _WIDTHS[kind]


def _file_type(dtype: str, packed: Mapping[str, int]) -> str:
    """What the file is called by: the type of most of its matrices."""
    if not packed:
        return _TYPES[dtype][1]
    bits = Counter(packed.values()).most_common(1)[0][0]
    return f"MOSTLY_{TYPES[bits]}"


def _add_shape(writer: Any, shape: LlamaShape, file_type: int) -> None:
    import gguf

    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope.theta)
    if shape.rope.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(shape.rope.scaling["factor"])
    writer.add_vocab_size(shape.vocab_size)


def _add_vocabulary(writer: Any, named: SpecialIds, vocabulary: Vocabulary | None) -> None:
    if vocabulary is None:
        writer.add_tokenizer_model("no_vocab")
        return
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    ids = dict(vocabulary.special_ids)
    # The tokenizer's own end of text first; config.json may name an end of turn beside it.
    own = (ids["eos"],) if "eos" in ids else ()
    ends = tuple(dict.fromkeys((*own, *named.ends)))
    add = {"unk": writer.add_unk_token_id, "pad": writer.add_pad_token_id}
    bos = ids.get("bos", named.bos)
    if bos is not None:
        writer.add_bos_token_id(bos)
    for value, put in zip(ends, (writer.add_eos_token_id, writer.add_eot_token_id), strict=False):
        put(value)
    for role, put in add.items():
        if role in ids:
            put(ids[role])
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)
