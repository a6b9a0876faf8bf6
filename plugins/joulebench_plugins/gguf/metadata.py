"""What a llama-type GGUF file says about its model's shape, as a ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.gguf.reading import GgufMetadata
from joulebench_plugins.shared.llama.rotary import Rope
from joulebench_plugins.shared.llama.shape import ARCHITECTURES, LlamaShape

#: Rope base where the file states none: the GGUF specification's and transformers' default.
DEFAULT_ROPE_THETA: Final = 10_000.0


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids that start, end and pad a sequence; ``None`` or empty where none is named."""

    bos: int | None
    ends: tuple[int, ...]
    pad: int | None

    def config(self) -> dict[str, object]:
        """As ``config.json`` and ``generation_config.json`` have them."""
        ids: dict[str, object] = {}
        if self.bos is not None:
            ids["bos_token_id"] = self.bos
        if self.ends:
            ids["eos_token_id"] = list(self.ends) if len(self.ends) > 1 else self.ends[0]
        if self.pad is not None:
            ids["pad_token_id"] = self.pad
        return ids


def config_of(shape: LlamaShape, ids: SpecialIds, dtype: str) -> dict[str, object]:
    """The content of ``config.json`` for weights of ``dtype``."""
    rope = {"rope_type": shape.rope.kind, "rope_theta": shape.rope.theta, **shape.rope.scaling}
    return {
        "architectures": list(ARCHITECTURES),
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_parameters": rope,
        "hidden_act": "silu",  # the llama graph of GGUF knows no other
        "attention_bias": shape.attention_bias,
        "mlp_bias": shape.mlp_bias,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "dtype": dtype,
        **ids.config(),
    }


def read_shape(file: GgufMetadata) -> LlamaShape:
    """Read the shape, refusing what a plain llama model cannot express."""
    _refuse_other_models(file)
    heads = file.needed_integer("llama.attention.head_count")
    hidden = file.needed_integer("llama.embedding_length")
    head_dim = file.integer("llama.attention.key_length") or hidden // heads
    _refuse_unequal_heads(file, head_dim)
    if head_dim % 2:
        raise ModelError(f"heads are {head_dim} wide, which is odd and cannot be rotated", where=str(file.path))
    if "token_embd.weight" not in file.tensor_names:
        raise ModelError("tensor 'token_embd.weight' is missing", where=str(file.path))
    layers = file.needed_integer("llama.block_count")
    if not 0 < layers <= len(file.tensor_names):
        raise ModelError(
            f"metadata says {layers:,} layers; it has {len(file.tensor_names):,} tensors", where=str(file.path)
        )
    epsilon = file.number("llama.attention.layer_norm_rms_epsilon")
    if epsilon is None:
        raise ModelError("metadata lacks the RMS norm's epsilon", where=str(file.path))
    return LlamaShape(
        hidden_size=hidden,
        intermediate_size=file.needed_integer("llama.feed_forward_length"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=file.integer("llama.attention.head_count_kv") or heads,
        head_dim=head_dim,
        vocab_size=file.tensor_shape("token_embd.weight")[0],
        max_position_embeddings=file.needed_integer("llama.context_length"),
        rms_norm_eps=epsilon,
        rope=_rope(file),
        tie_word_embeddings="output.weight" not in file.tensor_names,
        attention_bias="blk.0.attn_q.bias" in file.tensor_names,
        mlp_bias="blk.0.ffn_gate.bias" in file.tensor_names,
    )


def read_special_ids(file: GgufMetadata) -> SpecialIds:
    """The ids; the end of a turn is one of the ends where it is a token of its own."""
    rows = file.tensor_shape("token_embd.weight")[0]
    ends = [index for role in ("eos", "eot") if (index := file.token_id(role, rows)) is not None]
    return SpecialIds(file.token_id("bos", rows), tuple(dict.fromkeys(ends)), file.token_id("padding", rows))


def _refuse_other_models(file: GgufMetadata) -> None:
    architecture = file.text("general.architecture")
    if architecture != "llama":
        raise ArtifactError(f"architecture '{architecture}' is not llama", where=str(file.path), hint=_SCOPE)
    if file.integer("llama.expert_count"):
        raise ArtifactError("mixtures of experts are not imported", where=str(file.path), hint=_SCOPE)
    if "rope_freqs.weight" in file.tensor_names:
        # The factors are there, but not the parameters that config.json describes them by.
        raise ArtifactError(
            "rope frequencies scaled one by one (rope_freqs.weight) are not imported", where=str(file.path), hint=_SCOPE
        )


def _refuse_unequal_heads(file: GgufMetadata, head_dim: int) -> None:
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        size = file.integer(key)
        if size is not None and size != head_dim:
            raise ArtifactError(f"'{key}' is {size} where heads are {head_dim} wide", where=str(file.path), hint=_SCOPE)


def _rope(file: GgufMetadata) -> Rope:
    kind = file.text("llama.rope.scaling.type") or "none"
    if kind not in ("none", "linear"):
        raise ArtifactError(f"rope scaling '{kind}' is not imported", where=str(file.path), hint=_SCOPE)
    theta = file.number("llama.rope.freq_base") or DEFAULT_ROPE_THETA
    factor = file.number("llama.rope.scaling.factor")
    if kind == "linear" and factor not in (None, 1.0):
        return Rope("linear", theta, {"factor": factor})
    return Rope("default", theta, {})


_SCOPE: Final = "use the model's original safetensors instead"
