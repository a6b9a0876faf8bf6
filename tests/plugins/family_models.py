"""Tiny checkpoints of many architectures with random weights, biases and norms, for the tests of techniques."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruning_models import save

_COMMON: Mapping[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 2,
}
_GROUPED: Mapping[str, Any] = {**_COMMON, "intermediate_size": 96, "num_key_value_heads": 2}
_EXPERTS: Mapping[str, Any] = {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}
_HEADED: Mapping[str, Any] = {**_GROUPED, "head_dim": 16}
_MAMBA: Mapping[str, Any] = {
    key: value for key, value in _COMMON.items() if key not in ("num_attention_heads", "max_position_embeddings")
}

#: Settings of transformers' configuration of each ``model_type``.
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("llama", "mistral", "ministral", "qwen2", "seed_oss", "ernie4_5", "gemma"), _HEADED),
    **dict.fromkeys(("qwen3", "smollm3", "granite", "helium", "hunyuan_v1_dense"), _HEADED),
    **dict.fromkeys(("olmo", "olmo2", "olmo3", "exaone4", "stablelm", "cohere", "starcoder2", "phi"), _GROUPED),
    "phi3": _GROUPED,
    "gemma2": {**_HEADED, "sliding_window": 16, "query_pre_attn_scalar": 16},
    "gemma3_text": {**_HEADED, "sliding_window": 16, "query_pre_attn_scalar": 16},
    "gpt2": _COMMON,
    "gpt_neox": {**_COMMON, "intermediate_size": 96},
    "opt": {**_COMMON, "ffn_dim": 96, "word_embed_proj_dim": 64},
    "bloom": _COMMON,
    "falcon": {**_COMMON, "new_decoder_architecture": False, "multi_query": True, "parallel_attn": True},
    "mamba": {**_MAMBA, "state_size": 8},
    "falcon_mamba": {**_MAMBA, "state_size": 8},
    "lfm2": {
        **_GROUPED,
        "num_hidden_layers": 3,
        "layer_types": ["full_attention", "conv", "full_attention"],
        "block_auto_adjust_ff_dim": False,
    },
    "arcee": _HEADED,
    "nemotron": _HEADED,
    "glm4": _HEADED,
    "cohere2": {**_GROUPED, "sliding_window": 16},
    "gptj": {**_COMMON, "n_inner": 96, "rotary_dim": 8},
    "mpt": {**_COMMON, "max_seq_len": 128},
    "mamba2": {**_MAMBA, "state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 1, "expand": 2},
    "jamba": {
        **_GROUPED,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "qwen2_moe": {**_EXPERTS, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 96},
    "phimoe": {**_EXPERTS, "num_local_experts": 4},
    "olmoe": _EXPERTS,
    "qwen3_moe": {**_EXPERTS, "head_dim": 16, "moe_intermediate_size": 32, "norm_topk_prob": True},
    "mixtral": {**_EXPERTS, "num_local_experts": 4},
    "granitemoe": {**_EXPERTS, "num_local_experts": 4},
}


#: Settings of a configuration that change which norms a block has.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "falcon-serial": ("falcon", {"parallel_attn": False}),
    "falcon-2": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-1": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    "stablelm-parallel": ("stablelm", {"use_parallel_residual": True}),
    "gpt_neox-serial": ("gpt_neox", {"use_parallel_residual": False}),
    "phi3-partial": ("phi3", {"partial_rotary_factor": 0.5}),
    "llama-tied": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
}


def make_family(kind: str, dtype: str = "float32", **sizes: Any) -> Any:
    """A model of this ``model_type`` by transformers, none of whose parameters is neutral."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(7)
    config = AutoConfig.for_model(kind, **{**FAMILIES[kind], **sizes})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and parameter.ndim == 1:
                parameter.normal_(0.0, 0.3)
            elif "norm" in name or "ln_" in name:
                parameter.add_(torch.empty_like(parameter).uniform_(-0.4, 0.4))
    return model.to(getattr(torch, dtype)).eval()


def save_family(kind: str, folder: Path, **sizes: Any) -> Path:
    """Write such a model as a checkpoint with a tokenizer."""
    return save(make_family(kind, **sizes), folder)
