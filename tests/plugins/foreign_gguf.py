"""GGUF files of other architectures than llama, written with the gguf package's own writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gguf_models import byte_level_tokenizer

#: It speaks of itself before the user does, which llama.cpp's own renderer would leave out.
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|start|>system\nYou are small.<|end|>\n{% endif %}"
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
LAYERS, HEADS, KV_HEADS, HEAD_SIZE, CONTEXT = 2, 4, 2, 16, 128
_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
_GEMMA2_NORMS = {
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_norm.weight": "pre_feedforward_layernorm.weight",
    "post_ffw_norm.weight": "post_feedforward_layernorm.weight",
}
#: Positions that every other layer of the gemma2 sees, and the context that goes beyond them.
WINDOW, LONG_CONTEXT = 64, 512
_BIASES = {f"attn_{name}.bias": f"self_attn.{name}_proj.bias" for name in "qkv"}


def foreign_model(kind: str, vocabulary: int) -> Any:
    """A tiny ``qwen2``, ``gemma`` or ``gemma2`` of transformers' own, whose greedy text varies."""
    import torch
    import transformers

    config, model = {
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "gemma": (transformers.GemmaConfig, transformers.GemmaForCausalLM),
        "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
    }[kind]
    windowed = {
        "sliding_window": WINDOW,
        "query_pre_attn_scalar": HEAD_SIZE,
        "max_position_embeddings": LONG_CONTEXT,
        "attn_implementation": "eager",
    }
    torch.manual_seed(5)
    return model(
        config(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            head_dim=HEAD_SIZE,
            tie_word_embeddings=True,
            initializer_range=0.3,
            eos_token_id=0,
            bos_token_id=1,
            **(windowed if kind == "gemma2" else {"max_position_embeddings": CONTEXT}),
        )
    ).eval()


def write_foreign(
    path: Path, kind: str, model: Any, architecture: str | None = None, parts: int = 0, lacking: str = ""
) -> Path:
    """The model as a float32 file, which calls itself ``architecture``; split if ``parts`` tensors go into a file."""
    import gguf
    import numpy as np

    config = model.config
    writer = gguf.GGUFWriter(path, architecture or kind, split_max_tensors=parts)
    writer.add_context_length(config.max_position_embeddings)
    if kind == "gemma2":
        writer.add_sliding_window(WINDOW)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, config.vocab_size)
    weights = {name: value.detach().float().numpy() for name, value in model.state_dict().items()}
    # Gemma's norms multiply by 1 + w; its files hold that sum.
    shift = np.float32(kind.startswith("gemma"))
    names = _LAYER | {"qwen2": _BIASES, "gemma2": _GEMMA2_NORMS}.get(kind, {})
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"] + shift)
    for layer in range(LAYERS):
        for target, source in names.items():
            if f"blk.{layer}.{target}" == lacking:
                continue
            values = weights[f"model.layers.{layer}.{source}"]
            writer.add_tensor(f"blk.{layer}.{target}", values + shift if "norm" in target else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_MAMBA_LAYER = {
    "attn_norm.weight": "norm.weight",
    "ssm_in.weight": "mixer.in_proj.weight",
    "ssm_conv1d.weight": "mixer.conv1d.weight",
    "ssm_conv1d.bias": "mixer.conv1d.bias",
    "ssm_x.weight": "mixer.x_proj.weight",
    "ssm_dt.weight": "mixer.dt_proj.weight",
    "ssm_dt.bias": "mixer.dt_proj.bias",
    "ssm_a": "mixer.A_log",
    "ssm_d": "mixer.D",
    "ssm_out.weight": "mixer.out_proj.weight",
}


def mamba_model(vocabulary: int) -> Any:
    """A tiny Mamba of transformers' own: no attention, and a state in place of keys and values."""
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(5)
    config = MambaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=LAYERS,
        state_size=16,
        time_step_rank=4,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    return MambaForCausalLM(config).eval()


def write_mamba(path: Path, model: Any) -> Path:
    """That model as a float32 file."""
    import gguf
    import numpy as np

    config = model.config
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(config.conv_kernel)
    writer.add_ssm_inner_size(config.intermediate_size)
    writer.add_ssm_state_size(config.state_size)
    writer.add_ssm_time_step_rank(config.time_step_rank)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, config.vocab_size)
    weights = {name: value.detach().float().numpy() for name, value in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", weights["backbone.embeddings.weight"])
    writer.add_tensor("output_norm.weight", weights["backbone.norm_f.weight"])
    for layer in range(LAYERS):
        for target, source in _MAMBA_LAYER.items():
            values = weights[f"backbone.layers.{layer}.{source}"]
            if target == "ssm_a":
                values = -np.exp(values)
            writer.add_tensor(f"blk.{layer}.{target}", np.ascontiguousarray(values.squeeze()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: Any, size: int) -> None:
    state = json.loads(byte_level_tokenizer("gpt-2").to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    assert len(tokens) == size
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<|end|>", "<|start|>") else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
