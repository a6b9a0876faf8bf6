"""A configuration under the names that llama.cpp's converter asks for.

The converter was written for the configurations that published models have. transformers 5 reads and
writes some of their keys under other names, or leaves out what can be computed from others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Config: TypeAlias = dict[str, Any]

#: transformers 5's names of the kinds of layers, and those before it.
_LAYERS: Final = {"full_attention": "attention", "linear_attention": "mamba"}
#: Classes that transformers calls otherwise than the models' authors did, whose names upstream has.
ARCHITECTURES: Final[Mapping[str, str]] = {"MptForCausalLM": "MPTForCausalLM", "PhimoeForCausalLM": "PhiMoEForCausalLM"}
_NEMOTRON_LAYERS: Final = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}


def with_older_names(written: Mapping[str, Any], architecture: str | None) -> Config:
    """The content of a ``config.json`` as a published model of that architecture would have it."""
    config = dict(written)
    name = architecture or ""
    if name in ARCHITECTURES:
        config["architectures"] = [ARCHITECTURES[name]]
    correct = _BY_ARCHITECTURE.get(name)
    return config if correct is None else correct(config)


def completed(loaded: Mapping[str, Any], written: Mapping[str, Any]) -> Config:
    """What transformers has ``loaded`` of a configuration, with what is ``written`` in it as it stands there."""
    config = {**loaded, **{key: value for key, value in written.items() if value is not None}}
    _default(config, "n_ctx", config.get("n_positions"))
    _default(config, "rotary_pct", _rotary_share(config))
    if config.get("model_type") == "nemotron_h":
        _drop_experts(config, kept=written)
    return config


def _default(config: Config, key: str, value: object) -> None:
    if config.get(key) is None and value is not None:
        config[key] = value


def _rotary_share(config: Config) -> float:
    """Which part of a head is rotated; all of it where nothing is said."""
    rope = config.get("rope_parameters")
    share = rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    return float(share) if isinstance(share, int | float) else 1.0


def _with_head_size(config: Config) -> Config:
    _default(config, "head_dim", config["hidden_size"] // config["num_attention_heads"])
    return config


def _bamba(config: Config) -> Config:
    config = _with_head_size(config)
    _default(config, "attn_rotary_emb", int(_rotary_share(config) * config["head_dim"]))
    return config


def _falcon(config: Config) -> Config:
    """Several heads of keys and values are the exception: transformers fills in as many as there are queries."""
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        config["num_kv_heads"] = 1
    return config


def _granite_hybrid(config: Config) -> Config:
    types = config.get("layer_types")
    if isinstance(types, list):
        config["layer_types"] = [_LAYERS.get(str(kind), kind) for kind in types]
    if not config.get("num_local_experts"):
        config.pop("num_experts_per_tok", None)  # which transformers has for models without experts as well
    return config


def _nemotron_h(config: Config) -> Config:
    types = config.get("layers_block_type")
    if isinstance(types, list):
        kinds = [_LAYERS.get(str(kind), str(kind)) for kind in types]
        config["num_hidden_layers"] = len(kinds)
        _default(config, "hybrid_override_pattern", "".join(_NEMOTRON_LAYERS.get(kind, kind) for kind in kinds))
        if "moe" not in kinds:
            _drop_experts(config, kept={})
    return config


def _drop_experts(config: Config, kept: Mapping[str, Any]) -> None:
    """Sizes of experts, which transformers has for every model of the kind, with experts or without."""
    for key in ("num_experts_per_tok", "n_routed_experts", "n_shared_experts", "n_group", "topk_group"):
        if key not in kept:
            config.pop(key, None)


def _phimoe(config: Config) -> Config:
    """Where no longer context was trained on afterwards, the first one is the only one."""
    _default(config, "original_max_position_embeddings", config.get("max_position_embeddings"))
    return config


def _qwen3_next(config: Config) -> Config:
    """Attention in every so many layers."""
    types = config.get("layer_types")
    if isinstance(types, list) and "full_attention" in types:
        _default(config, "full_attention_interval", types.index("full_attention") + 1)
    return config


def _with_sigmoid(config: Config) -> Config:
    """How experts are chosen, which is a constant of transformers' code."""
    _default(config, "scoring_func", "sigmoid")
    return config


_BY_ARCHITECTURE: Final[Mapping[str, Callable[[Config], Config]]] = {
    "BambaForCausalLM": _bamba,
    "DeepseekV3ForCausalLM": _with_sigmoid,
    "Dots1ForCausalLM": _with_sigmoid,
    "FalconForCausalLM": _falcon,
    "FalconH1ForCausalLM": _with_head_size,
    "GraniteMoeHybridForCausalLM": _granite_hybrid,
    "NemotronHForCausalLM": _nemotron_h,
    "PhimoeForCausalLM": _phimoe,
    "Qwen3NextForCausalLM": _qwen3_next,
}

#: Whether llama.cpp makes the weights of a token's experts add up to 1, where it does not ask the file.
_NORMALISED: Final = {"Qwen3MoeForCausalLM": True, "Qwen2MoeForCausalLM": False, "OlmoeForCausalLM": False}


def unlike_fault(config: Mapping[str, Any], architecture: str | None) -> str | None:
    """Why llama.cpp would compute another model than this configuration's, or ``None``."""
    normalised = _NORMALISED.get(architecture or "")
    stated = config.get("norm_topk_prob", False)
    if normalised is not None and stated is not normalised:
        does = "always" if normalised else "never"
        return f"norm_topk_prob is {str(stated).lower()}, and llama.cpp {does} normalises the experts' weights"
    return None
