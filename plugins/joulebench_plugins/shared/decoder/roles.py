"""What the matrices of a block are for, by type of model: data, and sizes from ``config.json``. No model library.

Every linear layer can be found without this (:mod:`~joulebench_plugins.shared.decoder.model`). These roles are for
techniques that change several tensors together, so that the model computes the same or stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulebench_plugins.shared.llama.configuration import UnfitModelError, count, even_groups, refuse_quantized
from joulebench_plugins.shared.llama.shape import LayerShape


@dataclass(frozen=True, slots=True)
class Roles:
    """Names inside of a block. One that a block lacks is of another kind of block of the same model."""

    #: Norms, and the linear layers that read what they give; nothing else does.
    norms: Mapping[str, tuple[str, ...]]
    #: What adds to the residual stream.
    writers: tuple[str, ...]
    #: Attention by heads; of equal names the rows follow each other. Empty where heads lie otherwise.
    query: str = ""
    key: str = ""
    value: str = ""
    output: str = ""
    #: The MLP; of an equal name the rows of the gate come before those of ``up``. An MLP may have no gate.
    gate: str = ""
    up: str = ""
    down: str = ""
    #: Whether what ``down`` reads grows in proportion to what ``up`` gives.
    proportional: bool = True
    #: What norms add to their weights.
    offset: float = 0.0
    #: Why the residual stream cannot be rotated, if so.
    fixed_stream: str = ""
    final_norm: str = "model.norm"
    #: The key of ``config.json`` for the MLP's width; empty where that is no plain number of it.
    width: str = "intermediate_size"
    #: Whether ``config.json`` may state a head's size, so that heads can go while the others keep theirs.
    own_head_size: bool = False
    #: Whether ``config.json`` says by a layer's number what it consists of, so that none can be taken out.
    by_number: bool = False


_LAYER_NORMS: Final = "its norms subtract a mean, which does not commute with a rotation"
_OUTER_NORMS: Final = "norms with weights lie between its matrices and the residual stream"

_QKV: Final = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_LLAMA: Final = Roles(
    norms={"input_layernorm": _QKV, "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")},
    writers=("self_attn.o_proj", "mlp.down_proj"),
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
    own_head_size=True,
)
_GEMMA2: Final = replace(
    _LLAMA,
    norms={"input_layernorm": _QKV, "pre_feedforward_layernorm": ("mlp.gate_proj", "mlp.up_proj")},
    offset=1.0,
    fixed_stream=_OUTER_NORMS,
)
_PHI3: Final = replace(
    _LLAMA,
    norms={"input_layernorm": ("self_attn.qkv_proj",), "post_attention_layernorm": ("mlp.gate_up_proj",)},
    query="self_attn.qkv_proj",
    key="self_attn.qkv_proj",
    value="self_attn.qkv_proj",
    gate="mlp.gate_up_proj",
    up="mlp.gate_up_proj",
)
_GLM4: Final = replace(
    _PHI3,
    norms={"input_layernorm": _QKV, "post_attention_layernorm": ("mlp.gate_up_proj",)},
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    fixed_stream=_OUTER_NORMS,
)
#: An MLP without a gate, whose activation is a square.
_ARCEE: Final = replace(
    _LLAMA, norms={"input_layernorm": _QKV, "post_attention_layernorm": ("mlp.up_proj",)}, gate="", proportional=False
)
#: Norms after the matrices and none before them.
_OLMO2: Final = replace(_LLAMA, norms={}, fixed_stream=_OUTER_NORMS, own_head_size=False)
#: Norms without weights, into which nothing can be folded.
_OLMO: Final = replace(_LLAMA, norms={}, fixed_stream=_LAYER_NORMS)
_STABLELM: Final = replace(_LLAMA, fixed_stream=_LAYER_NORMS, own_head_size=False)
#: One norm feeds attention and MLP.
_COHERE: Final = replace(_STABLELM, norms={"input_layernorm": (*_QKV, "mlp.gate_proj", "mlp.up_proj")})
_STARCODER2: Final = replace(
    _STABLELM,
    norms={"input_layernorm": _QKV, "post_attention_layernorm": ("mlp.c_fc",)},
    writers=("self_attn.o_proj", "mlp.c_proj"),
    gate="",
    up="mlp.c_fc",
    down="mlp.c_proj",
    proportional=False,
)
_PHI: Final = replace(
    _STARCODER2,
    norms={"input_layernorm": (*_QKV, "mlp.fc1")},
    writers=("self_attn.dense", "mlp.fc2"),
    output="self_attn.dense",
    up="mlp.fc1",
    down="mlp.fc2",
)
_OPT: Final = replace(
    _STARCODER2,
    norms={"self_attn_layer_norm": _QKV, "final_layer_norm": ("fc1",)},
    writers=("self_attn.out_proj", "fc2"),
    output="self_attn.out_proj",
    up="fc1",
    down="fc2",
    proportional=False,
    width="ffn_dim",
)
_GPTJ: Final = Roles(
    norms={"ln_1": ("attn.q_proj", "attn.k_proj", "attn.v_proj", "mlp.fc_in")},
    writers=("attn.out_proj", "mlp.fc_out"),
    query="attn.q_proj",
    key="attn.k_proj",
    value="attn.v_proj",
    output="attn.out_proj",
    up="mlp.fc_in",
    down="mlp.fc_out",
    proportional=False,
    fixed_stream=_LAYER_NORMS,
    width="n_inner",
)
_MPT: Final = Roles(
    norms={"norm_1": ("attn.Wqkv",), "norm_2": ("ffn.up_proj",)},
    writers=("attn.out_proj", "ffn.down_proj"),
    query="attn.Wqkv",
    key="attn.Wqkv",
    value="attn.Wqkv",
    output="attn.out_proj",
    up="ffn.up_proj",
    down="ffn.down_proj",
    proportional=False,
    fixed_stream=_LAYER_NORMS,
    width="",
)
_GPT2: Final = Roles(
    norms={"ln_1": ("attn.c_attn",), "ln_2": ("mlp.c_fc",)},
    writers=("attn.c_proj", "mlp.c_proj"),
    query="attn.c_attn",
    key="attn.c_attn",
    value="attn.c_attn",
    output="attn.c_proj",
    up="mlp.c_fc",
    down="mlp.c_proj",
    proportional=False,
    fixed_stream=_LAYER_NORMS,
    final_norm="transformer.ln_f",
    width="n_inner",
)
#: The rows of query, key and value change with each head.
_GPT_NEOX: Final = Roles(
    norms={"input_layernorm": ("attention.query_key_value",), "post_attention_layernorm": ("mlp.dense_h_to_4h",)},
    writers=("attention.dense", "mlp.dense_4h_to_h"),
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    proportional=False,
    fixed_stream=_LAYER_NORMS,
)
_BLOOM: Final = replace(
    _GPT_NEOX,
    norms={"input_layernorm": ("self_attention.query_key_value",), "post_attention_layernorm": ("mlp.dense_h_to_4h",)},
    writers=("self_attention.dense", "mlp.dense_4h_to_h"),
    width="",
)
#: Which norms a block has depends on the configuration: see _variant.
_FALCON: Final = replace(_BLOOM, width="ffn_hidden_size")
_MAMBA: Final = Roles(norms={"norm": ("mixer.in_proj",)}, writers=("mixer.out_proj",), final_norm="backbone.norm_f")
_LFM2: Final = Roles(
    norms={"operator_norm": ("conv.in_proj", *_QKV), "ffn_norm": ("feed_forward.w1", "feed_forward.w3")},
    writers=("conv.out_proj", "self_attn.out_proj", "feed_forward.w2"),
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.out_proj",
    gate="feed_forward.w1",
    up="feed_forward.w3",
    down="feed_forward.w2",
    final_norm="model.embedding_norm",
    width="",
)
#: The norm of the MLP feeds the router of the experts as well.
_MOE: Final = replace(
    _LLAMA,
    norms={"input_layernorm": _QKV},
    gate="",
    up="",
    down="",
    own_head_size=True,
    fixed_stream="a router of experts reads the residual stream",
    width="",
)
_JAMBA: Final = replace(
    _MOE,
    norms={
        "input_layernorm": ("mamba.in_proj", *_QKV),
        "pre_ff_layernorm": ("feed_forward.gate_proj", "feed_forward.up_proj"),
    },
    gate="feed_forward.gate_proj",
    up="feed_forward.up_proj",
    down="feed_forward.down_proj",
    own_head_size=False,
    by_number=True,
)

#: By ``model_type``.
ROLES: Final[Mapping[str, Roles]] = {
    **dict.fromkeys(("llama", "mistral", "ministral", "qwen2", "qwen3", "smollm3", "granite"), _LLAMA),
    **dict.fromkeys(("seed_oss", "ernie4_5", "hunyuan_v1_dense"), _LLAMA),
    "helium": replace(_LLAMA, own_head_size=False),
    "gemma": replace(_LLAMA, offset=1.0),
    **dict.fromkeys(("gemma2", "gemma3_text"), _GEMMA2),
    "phi3": _PHI3,
    **dict.fromkeys(("olmo2", "olmo3", "exaone4"), _OLMO2),
    "olmo": _OLMO,
    "stablelm": _STABLELM,
    **dict.fromkeys(("cohere", "cohere2"), _COHERE),
    "glm4": _GLM4,
    "arcee": _ARCEE,
    "nemotron": replace(_ARCEE, offset=1.0, fixed_stream=_LAYER_NORMS),
    "gptj": _GPTJ,
    "mpt": _MPT,
    "jamba": _JAMBA,
    "starcoder2": _STARCODER2,
    "phi": _PHI,
    "opt": _OPT,
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "bloom": _BLOOM,
    "falcon": _FALCON,
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba"), _MAMBA),
    "lfm2": _LFM2,
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "mixtral", "granitemoe", "phimoe"), _MOE),
    "olmoe": replace(_MOE, own_head_size=False),
}

#: Older and other names of sizes in a ``config.json``.
_HIDDEN: Final = ("hidden_size", "n_embd", "d_model")
LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS: Final = ("num_attention_heads", "n_head", "n_heads")
_CONTEXT: Final = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


def kind_of(config: Mapping[str, object]) -> str:
    """The ``model_type``, or ``unknown``."""
    return str(config.get("model_type") or "unknown")


def roles_of(config: Mapping[str, object], needed: str) -> Roles:
    """The roles of a type of model; ``needed`` says what they are needed for.

    Raises :class:`UnfitModelError` for types that are not in the map and for variants of those that are.
    """
    refuse_quantized(config)
    kind = kind_of(config)
    roles = ROLES.get(kind)
    if roles is None:
        raise UnfitModelError(
            f"{needed} are not known for models of type '{kind}', only for {', '.join(sorted(ROLES))}"
        )
    return _variant(roles, config)


def has_gate(config: Mapping[str, object]) -> bool:
    """Whether the MLPs have a matrix for the gate alone; true of types that are not in the map."""
    roles = ROLES.get(kind_of(config))
    return roles is None or roles.gate not in ("", roles.up)


def _variant(roles: Roles, config: Mapping[str, object]) -> Roles:
    """What settings of the model's configuration change."""
    if roles is _STABLELM and config.get("use_parallel_residual") is True:
        return replace(roles, norms={"input_layernorm": (*_QKV, "mlp.gate_proj", "mlp.up_proj")})
    if roles is _OPT and config.get("do_layer_norm_before") is False:
        return replace(roles, norms={})
    if roles is _FALCON:
        attention, mlp = ("self_attention.query_key_value",), ("mlp.dense_h_to_4h",)
        if config.get("new_decoder_architecture") is True and config.get("num_ln_in_parallel_attn") != 1:
            return replace(roles, norms={"ln_attn": attention, "ln_mlp": mlp})
        if config.get("new_decoder_architecture") is True or config.get("parallel_attn", True) is True:
            return replace(roles, norms={"input_layernorm": (*attention, *mlp)})
    return roles


def hidden_size(config: Mapping[str, object]) -> int:
    """The width of the residual stream. Raises :class:`UnfitModelError`."""
    return count(config, key_of(config, _HIDDEN))


def layer_shape(config: Mapping[str, object]) -> LayerShape:
    """The sizes of a decoder with attention and an MLP. Raises :class:`UnfitModelError` where they are not all said."""
    refuse_quantized(config)
    roles = ROLES.get(kind_of(config))
    hidden = hidden_size(config)
    heads = count(config, key_of(config, HEADS))
    multi_query = config.get("multi_query") is True
    kv_heads = 1 if multi_query else count(config, "num_key_value_heads", heads)
    even_groups(heads, kv_heads)
    width = roles.width if roles is not None else "intermediate_size"
    return LayerShape(
        hidden_size=hidden,
        intermediate_size=count(
            config, width or "intermediate_size", None if width == "intermediate_size" else 4 * hidden
        ),
        num_hidden_layers=count(config, key_of(config, LAYERS)),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=count(config, "head_dim", hidden // heads),
    )


def input_widths(config: Mapping[str, object]) -> frozenset[int]:
    """Columns that the matrices have, as far as that is known beforehand.

    Raises :class:`UnfitModelError` for sizes that are none.
    """
    roles = ROLES.get(kind_of(config))
    if roles is None or not (roles.up and roles.width):
        return frozenset()
    if any(config.get(key_of(config, names)) is None for names in (_HIDDEN, HEADS, LAYERS)) or (
        roles.width == "intermediate_size" and config.get(roles.width) is None
    ):
        return frozenset()  # the library's own default, which is not known here
    return layer_shape(config).input_widths


def context_length(config: Mapping[str, object]) -> int | None:
    """Positions that a model has, ``None`` for one that does not say."""
    length = config.get(key_of(config, _CONTEXT))
    return length if isinstance(length, int) else None


def key_of(config: Mapping[str, object], names: Sequence[str]) -> str:
    """Which of these names of a size a ``config.json`` uses; the first if none."""
    return next((name for name in names if config.get(name) is not None), names[0])
