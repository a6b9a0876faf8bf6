"""What a llama-type GGUF file says about its model's shape, as a ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench.errors import ArtifactError, ModelError
from joulebench_gguf.reading import GgufFile

#: Rope base where the file states none: the GGUF specification's and transformers' default.
DEFAULT_ROPE_THETA = 10_000.0


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Sizes and constants of a llama-type model, under their ``config.json`` names."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    #: Linear position scaling; ``None`` where positions are not scaled.
    rope_factor: float | None
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None

    def config(self, dtype: str) -> dict[str, object]:
        """The content of ``config.json`` for weights of ``dtype``."""
        rope: dict[str, object] = {"rope_type": "default", "rope_theta": self.rope_theta}
        if self.rope_factor is not None:
            rope |= {"rope_type": "linear", "factor": self.rope_factor}
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": rope,
            "hidden_act": "silu",  # the llama graph of GGUF knows no other
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "tie_word_embeddings": self.tie_word_embeddings,
            "dtype": dtype,
            **self.special_ids(),
        }

    def special_ids(self) -> dict[str, object]:
        """Ids that start, end and pad a sequence; absent where the file does not name them."""
        ids: dict[str, object] = {}
        if self.bos_token_id is not None:
            ids["bos_token_id"] = self.bos_token_id
        if self.eos_token_ids:
            many = len(self.eos_token_ids) > 1
            ids["eos_token_id"] = list(self.eos_token_ids) if many else self.eos_token_ids[0]
        if self.pad_token_id is not None:
            ids["pad_token_id"] = self.pad_token_id
        return ids


def read_shape(file: GgufFile) -> LlamaShape:
    """Read the shape, refusing what a plain llama model cannot express."""
    _refuse_other_models(file)
    heads = file.needed_integer("llama.attention.head_count")
    hidden = file.needed_integer("llama.embedding_length")
    head_dim = file.integer("llama.attention.key_length") or hidden // heads
    _refuse_unequal_heads(file, head_dim)
    if "token_embd.weight" not in file.tensor_names:
        raise ModelError("tensor 'token_embd.weight' is missing", where=str(file.path))
    epsilon = file.number("llama.attention.layer_norm_rms_epsilon")
    if epsilon is None:
        raise ModelError("metadata lacks the RMS norm's epsilon", where=str(file.path))
    return LlamaShape(
        hidden_size=hidden,
        intermediate_size=file.needed_integer("llama.feed_forward_length"),
        num_hidden_layers=file.needed_integer("llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=file.integer("llama.attention.head_count_kv") or heads,
        head_dim=head_dim,
        vocab_size=file.tensor_shape("token_embd.weight")[0],
        max_position_embeddings=file.needed_integer("llama.context_length"),
        rms_norm_eps=epsilon,
        rope_theta=file.number("llama.rope.freq_base") or DEFAULT_ROPE_THETA,
        rope_factor=_linear_factor(file),
        tie_word_embeddings="output.weight" not in file.tensor_names,
        attention_bias="blk.0.attn_q.bias" in file.tensor_names,
        mlp_bias="blk.0.ffn_gate.bias" in file.tensor_names,
        bos_token_id=file.integer("tokenizer.ggml.bos_token_id"),
        eos_token_ids=_end_ids(file),
        pad_token_id=file.integer("tokenizer.ggml.padding_token_id"),
    )


def _refuse_other_models(file: GgufFile) -> None:
    architecture = file.text("general.architecture")
    if architecture != "llama":
        raise ArtifactError(
            f"architecture '{architecture}' is not llama", where=str(file.path), hint=_SCOPE
        )
    if file.integer("llama.expert_count"):
        raise ArtifactError(
            "mixtures of experts are not imported", where=str(file.path), hint=_SCOPE
        )
    if "rope_freqs.weight" in file.tensor_names:
        # The factors are there, but not the parameters that config.json describes them by.
        raise ArtifactError(
            "rope frequencies scaled one by one (rope_freqs.weight) are not imported",
            where=str(file.path),
            hint=_SCOPE,
        )


def _refuse_unequal_heads(file: GgufFile, head_dim: int) -> None:
    for key in ("llama.attention.value_length", "llama.rope.dimension_count"):
        size = file.integer(key)
        if size is not None and size != head_dim:
            raise ArtifactError(
                f"'{key}' is {size} where heads are {head_dim} wide",
                where=str(file.path),
                hint=_SCOPE,
            )


def _linear_factor(file: GgufFile) -> float | None:
    kind = file.text("llama.rope.scaling.type") or "none"
    if kind not in ("none", "linear"):
        raise ArtifactError(
            f"rope scaling '{kind}' is not imported", where=str(file.path), hint=_SCOPE
        )
    factor = file.number("llama.rope.scaling.factor")
    return factor if kind == "linear" and factor not in (None, 1.0) else None


def _end_ids(file: GgufFile) -> tuple[int, ...]:
    """End of text, and end of turn where that is another token."""
    keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    ids = [value for key in keys if (value := file.integer(key)) is not None]
    return tuple(dict.fromkeys(ids))


_SCOPE = "use the model's original safetensors instead"
