"""The backend's options for compressed KV caches, and what they may not be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joulebench.api import Option, Settings
from joulebench_plugins.torch.layerkinds import PLAIN_TYPES, layer_kinds

#: The attention kernel that the model has.
AUTO: Final = "auto"
#: Policies that choose the positions to keep, with the last positions that each always keeps where
#: ``kv_window`` is not set; ``None``: half of the budget.
POLICIES: Final[Mapping[str, int | None]] = {
    "window": 0,
    "h2o": None,
    "snapkv": 32,
    "tova": 0,
    "expected-attention": 0,
    "fastgen": 0,
}
#: Types of models whose attention hands its queries and keys to one function, keys as they are cached.
_EVICTING_TYPES: Final = frozenset(
    {
        *PLAIN_TYPES,
        *("cohere", "ernie4_5", "exaone4", "gemma", "granite", "granitemoe", "helium", "hunyuan_v1_dense", "ministral"),
        *("mixtral", "olmo", "olmo2", "olmoe", "phi", "phi3", "qwen3_moe", "seed_oss", "smollm3", "stablelm"),
        "starcoder2",
    }
)
#: Those of them that rotate keys in pairs of neighbours, in part, not in every layer, or before a norm.
_ROTATED_OTHERWISE: Final = frozenset(
    {"cohere", "ernie4_5", "exaone4", "helium", "hunyuan_v1_dense", "phi", "phi3", "smollm3", "stablelm"}
)
#: Positions that are read at once at most where each of them is scored.
LARGEST_CHUNK: Final = 128

KV_OPTIONS: Final = (
    Option("kv_policy", "str", None, "which positions the KV cache keeps; all when not set", choices=tuple(POLICIES)),
    Option("kv_budget", "int", 512, "positions that each layer keeps under kv_policy; fastgen sets its own", minimum=1),
    Option(
        "kv_share",
        "share",
        None,
        "the budget as a share of the prompt, in place of kv_budget",
        minimum=0.01,
        maximum=1.0,
    ),
    Option("kv_sinks", "int", 4, "first positions that kv_policy always keeps", minimum=0),
    Option(
        "kv_window",
        "int",
        None,
        "last positions that kv_policy always keeps; when not set, half of the budget for h2o, 32 for snapkv, "
        "otherwise none",
        minimum=0,
    ),
    Option(
        "kv_chunk",
        "int",
        64,
        "positions read at once when a text is scored (and in prompts, under the policy window); "
        "the cache is cut to its budget after each piece",
        minimum=1,
        maximum=LARGEST_CHUNK,
    ),
    Option(
        "kv_recovery",
        "share",
        0.95,
        "fastgen: share of a head's attention that its kept positions must cover",
        minimum=0.01,
        maximum=1.0,
    ),
    Option(
        "kv_local",
        "share",
        0.3,
        "fastgen: size of the local window, as a share of the prompt",
        minimum=0.01,
        maximum=1.0,
    ),
    Option(
        "kv_frequent",
        "share",
        0.3,
        "fastgen: positions with the most attention, as a share of the prompt",
        minimum=0.01,
        maximum=1.0,
    ),
    Option("kv_bits", "int", None, "bits of each cached key and value; as dtype when not set", choices=(8, 4, 2)),
    Option(
        "kv_group",
        "int",
        32,
        "numbers that share a scale and a minimum under kv_bits: positions of a key's channel, channels of a value",
        minimum=8,
    ),
    Option("kv_residual", "int", 64, "last positions that stay in full precision under kv_bits", minimum=0),
)


@dataclass(frozen=True, slots=True)
class Eviction:
    """Which positions stay; a budget of ``None`` is ``share`` of the prompt."""

    policy: str
    budget: int | None
    share: float | None
    sinks: int
    window: int | None
    chunk: int
    recovery: float
    local: float
    frequent: float

    def budget_for(self, tokens: int) -> int | None:
        """Positions that stay of a prompt of ``tokens``; ``None`` where the policy decides."""
        if self.policy == "fastgen":
            return None
        if self.share is None:
            return self.budget
        return max(round(self.share * tokens), self.sinks + (self.window or 0) + 1)

    def window_for(self, budget: int | None) -> int:
        """Last positions that are always kept."""
        if self.window is not None:
            return self.window
        usual = POLICIES[self.policy]
        return (budget or 0) // 2 if usual is None else usual


@dataclass(frozen=True, slots=True)
class Quantization:
    """Keys and values in ``bits``, in groups, but for the last ``residual`` positions."""

    bits: int
    group: int
    residual: int


def compression_of(settings: Settings) -> Eviction | Quantization | None:
    """What the settings ask for; ``None`` for a full cache. They must have passed the check."""
    if settings.get("kv_bits") is not None:
        return Quantization(int(settings["kv_bits"]), int(settings["kv_group"]), int(settings["kv_residual"]))
    policy = settings.get("kv_policy")
    if policy is None:
        return None
    share, window = settings.get("kv_share"), settings.get("kv_window")
    return Eviction(
        policy=str(policy),
        budget=None if share is not None else int(settings["kv_budget"]),
        share=None if share is None else float(share),
        sinks=int(settings["kv_sinks"]),
        window=None if window is None else int(window),
        chunk=int(settings["kv_chunk"]),
        recovery=float(settings["kv_recovery"]),
        local=float(settings["kv_local"]),
        frequent=float(settings["kv_frequent"]),
    )


def compression_fault(settings: Settings, config: Mapping[str, object]) -> str | None:
    """Why these settings (completed) cannot work with a model of this ``config.json``."""
    compression = compression_of(settings)
    if compression is None:
        return None
    if settings.get("cache") == "static" or settings.get("compile"):
        return "kv_policy and kv_bits need cache = 'dynamic'"
    if settings.get("kv_bits") is not None and settings.get("kv_policy") is not None:
        return "kv_policy and kv_bits cannot be combined"
    if _sees_part(config):
        return "not every layer of this model sees every position; kv_policy and kv_bits need that"
    if isinstance(compression, Quantization):
        return _kept_fault(config) or _grouping_fault(compression, config)
    if settings.get("attention") == "eager":
        return f"kv_policy brings an attention of its own: leave attention at '{AUTO}'"
    kind = config.get("model_type")
    if kind is not None and kind not in _EVICTING_TYPES:
        return f"kv_policy knows models of type {', '.join(sorted(_EVICTING_TYPES))}, not '{kind}'"
    if compression.policy == "expected-attention" and kind in _ROTATED_OTHERWISE:
        return f"the policy expected-attention does not know how models of type '{kind}' rotate their queries"
    return _budget_fault(compression)


def _kept_fault(config: Mapping[str, object]) -> str | None:
    kinds = None if config.get("model_type") in PLAIN_TYPES else layer_kinds(config)
    if kinds is None or kinds.keeps_every_position:
        return None
    kept = ", ".join(kinds.layers) or "a state of its own"
    return f"kv_bits needs layers that keep keys and values of every position; this model's keep other things ({kept})"


def _budget_fault(eviction: Eviction) -> str | None:
    if eviction.policy == "window" and eviction.share is not None:
        return "the policy window reads without knowing the end: give kv_budget, not kv_share"
    if eviction.policy == "fastgen" or eviction.budget is None:
        return None
    kept = eviction.sinks + eviction.window_for(eviction.budget)
    if kept >= eviction.budget:
        return (
            f"kv_budget = {eviction.budget} leaves nothing to choose: {eviction.sinks} first and "
            f"{kept - eviction.sinks} last positions are always kept"
        )
    return None


def _grouping_fault(quantization: Quantization, config: Mapping[str, object]) -> str | None:
    size = head_size(config)
    if size is None:
        return None
    if size % quantization.group and quantization.group % size:
        return f"kv_group = {quantization.group} does not divide heads of {size}"
    if size * quantization.bits % 8:
        return f"heads of {size} cannot be packed in {quantization.bits} bits"
    return None


def head_size(config: Mapping[str, object]) -> int | None:
    """Channels of a head, if ``config.json`` tells."""
    size, hidden, heads = (config.get(key) for key in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(size, int):
        return size
    return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) else None


def _sees_part(config: Mapping[str, object]) -> bool:
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and any(kind != "full_attention" for kind in kinds):
        return True
    return bool(config.get("sliding_window")) and config.get("use_sliding_window", True) is True
