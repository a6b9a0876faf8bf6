"""How many of transformers' causal classes the backend torch opens, and runs right: a tiny random model of each.

Sizes are shrunk from each configuration's defaults, by name. A model is right where its logits step by step are those
of the whole text. Names after ``python -m bench.causal_models`` try these types alone.
"""

from __future__ import annotations

import collections
import contextlib
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from joulebench.api import Artifact

#: Sizes by the names that configurations have for them.
_SIZES: Final[Mapping[str, object]] = {
    **dict.fromkeys(("vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size"), 512),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "emb_dim", "embedding_size", "embedding_dim"), 64),
    **dict.fromkeys(("input_embedding_size", "output_embedding_size", "word_embed_proj_dim", "lru_width"), 64),
    **dict.fromkeys(("backbone_hidden_size", "router_hidden_size"), 64),
    **dict.fromkeys(("intermediate_size", "decoder_ffn_dim", "encoder_ffn_dim", "ffn_dim", "dim_ff", "dff"), 128),
    **dict.fromkeys(("feed_forward_size", "d_inner", "ffn_hidden_size", "n_inner", "dense_intermediate_size"), 128),
    **dict.fromkeys(("intermediate_size_mlp", "mamba_d_ssm", "shared_intermediate_size"), 128),
    **dict.fromkeys(("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"), 64),
    **dict.fromkeys(("shared_experts_intermediate_size", "moe_intermediate_size", "expert_ffn_hidden_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"), 4),
    **dict.fromkeys(("num_encoder_layers", "num_decoder_layers", "num_blocks"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("swa_num_attention_heads", "linear_num_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "swa_num_key_value_heads", "num_kv_heads", "linear_num_key_heads"), 2),
    **dict.fromkeys(("head_dim", "swa_head_dim", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim", "attention_head_size"), 16),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim", "mamba_d_state", "ssm_state_size"), 16),
    **dict.fromkeys(("state_size", "d_head", "dim_head", "index_head_dim", "kv_channels"), 16),
    **dict.fromkeys(("global_head_dim", "hidden_size_per_layer_input", "ple_embed_dim", "query_pre_attn_scalar"), 16),
    **dict.fromkeys(("linear_num_value_heads", "index_n_heads"), 4),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank"), 32),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "mamba_n_groups", "mamba_ngroups", "n_groups"), 1),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("chunk_size", "mamba_chunk_size"), 16),
    **dict.fromkeys(("sliding_window", "attention_window_size", "local_attention", "window_size"), 24),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions"), 256),
    **dict.fromkeys(("context_length", "original_max_position_embeddings", "max_source_positions"), 256),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 1),
    "rotary_dim": 8,
    "num_nextn_predict_layers": 0,
    "num_kv_shared_layers": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "is_decoder": True,
    "initializer_range": 0.1,
}
#: What goes with the number of layers or heads: made anew from it.
_DERIVED: Final = (
    "layer_types",
    "layers_block_type",
    "mlp_layer_types",
    "no_rope_layers",
    "moe_layers",
    "hybrid_layer_ids",
)
_TWO_KINDS: Final = ["linear_attention", "full_attention"] * 2
_INDEXER: Final = {
    **{"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 16},
    **{"indexer_budget": 32, "indexer_compress_ratio": 4},
}
#: What is not to be shrunk by name alone.
_OWN: Final[Mapping[str, dict[str, Any]]] = {
    "bailing_hybrid": {"layer_types": _TWO_KINDS},
    "bamba": {"attn_layer_indices": [1, 3]},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": _TWO_KINDS},
    "rwkv": {"attention_hidden_size": 64},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
    "reformer": {"axial_pos_embds_dim": [32, 32], "axial_pos_shape": [16, 16], "attn_layers": ["local"] * 4},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "sliding_window": None},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "dbrx": {
        "attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 128, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "qwen4_exp_text": _INDEXER,
    "xlm": {"causal": True, "is_decoder": False},
    "xmod": {"default_language": "en_XX"},
}
_PROMPT: Final = [(31 * i * i + 7 * i + 11) % 509 + 3 for i in range(48)]
_READ: Final = 20
_RIGHT: Final = 1e-4


def shrunk(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Small sizes for those that a configuration has, its parts' as well."""
    small: dict[str, Any] = {}
    if "kv_lora_rank" in defaults:  # all heads have keys of their own
        small["num_key_value_heads"] = _SIZES["num_attention_heads"]
    for name, value in defaults.items():
        if isinstance(value, dict) and name.endswith("_config"):
            small[name] = shrunk(value)
        elif name in _SIZES and name not in small and not isinstance(value, (list, dict)):
            small[name] = _SIZES[name]
    return small


def tried(kind: str, folder: Path) -> tuple[str, str]:
    """How far a type comes (built, opened, right), and what stopped it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from joulebench_plugins.torch.backend import TorchBackend

    stage = "not built"
    try:
        defaults = CONFIG_MAPPING[kind]().to_dict()
        config = AutoConfig.for_model(kind, **{**shrunk(defaults), **_OWN.get(kind, {})})
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, trust_remote_code=False).save_pretrained(folder)
        stage = "not opened"
        with TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1}) as session:
            session.prefill(_PROMPT[:_READ])
            session.step()
            stage = "wrong"
            reader, ids = session._reader, torch.tensor([_PROMPT])  # type: ignore[attr-defined]
            with torch.inference_mode():
                whole, _ = reader.read(ids, reader.new())
                row, memory = reader.read(ids[:, :_READ], reader.new())
                rows = [row]
                for place in range(_READ, len(_PROMPT)):
                    at = torch.tensor([[place]])
                    row, memory = reader.read(ids[:, place : place + 1], memory, at, last=True)
                    rows.append(row)
            off = float((torch.cat(rows, 1) - whole).abs().max() / (whole.max() - whole.min()))
            facts = session.facts()
            words = f"{off:.0e} of the range; attention {facts['attention']}; {facts['cache_layers']}"
            return ("right" if off < _RIGHT else "wrong"), words
    except Exception as error:  # whatever a class of transformers raises is its row of the table
        return stage, f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def main() -> None:
    """Print a line for each type, then the figures."""
    import torch
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from transformers.utils import logging as transformers_logging

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.disable_progress_bar()
    stages: collections.Counter[str] = collections.Counter()
    for kind in sys.argv[1:] or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            stage, words = tried(kind, Path(folder))
        stages[stage] += 1
        print(f"{kind:28} {stage:10} {words}", flush=True)
    total = sum(stages.values())
    opened = total - stages["not built"] - stages["not opened"]
    print(
        f"{opened} of {total} open, {stages['right']} of them are right; {stages['not built']} could not be built small"
    )


if __name__ == "__main__":
    main()
