"""The settings of the backend ``llamacpp``: its options, and what their defaults mean together."""

from __future__ import annotations

from typing import Final

from joulebench.api import Option, OptionValue, Settings
from joulebench.backendkit import allowed_cores
from joulebench_plugins.shared.tensors.integers import PACK_CHOICES

#: KV types that llama.cpp has kernels for, and how many numbers share a scale (ggml-common.h).
KV_TYPES: Final = {"f32": 1, "f16": 1, "bf16": 1, "q8_0": 32, "q5_1": 32, "q5_0": 32, "q4_1": 32, "q4_0": 32}
#: The KV types of so many bits that kv_bits means.
TYPE_OF_BITS: Final = {8: "q8_0", 5: "q5_1", 4: "q4_0"}
#: The KV type of the same precision as the weights.
_KV_OF_DTYPE: Final = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}

OPTIONS: Final = (
    Option(
        "dtype",
        "str",
        "float32",
        "number type of the matrices in the GGUF file made from a checkpoint",
        choices=("float32", "bfloat16", "float16"),
    ),
    Option(
        "pack",
        "str",
        "auto",
        "a quantized checkpoint's integers in the GGUF file: as Q4_0 and Q8_0 blocks of the "
        "very same integers (auto), or dense in dtype",
        choices=PACK_CHOICES,
    ),
    Option("threads", "int", None, "threads; all allowed cores when not set", minimum=1),
    Option("context_tokens", "int", 2048, "positions in the KV cache; at most the model's context", minimum=1),
    Option("batch_tokens", "int", 2048, "maximum tokens of a prompt in one call (n_batch)", minimum=1),
    Option("ubatch_tokens", "int", 512, "maximum tokens computed at once (n_ubatch)", minimum=1),
    Option("mmap", "bool", True, "map the file into memory; otherwise read it"),
    Option(
        "flash_attention",
        "str",
        "auto",
        "fused attention; it rounds float32 keys and values to float16, so auto is off for an "
        "f32 KV cache; otherwise llama.cpp decides",
        choices=("auto", "on", "off"),
    ),
    Option("kv_type_k", "str", None, "type of cached keys; as dtype when not set", choices=tuple(KV_TYPES)),
    Option("kv_type_v", "str", None, "type of cached values; as dtype when not set", choices=tuple(KV_TYPES)),
    Option(
        "kv_bits",
        "int",
        None,
        "bits of cached keys and values, in place of both types: 8 is q8_0, 5 q5_1, 4 q4_0",
        choices=tuple(TYPE_OF_BITS),
    ),
    Option("kv_policy", "str", None, "which positions the KV cache keeps; all when not set", choices=("window",)),
    Option("kv_budget", "int", 512, "positions kept under kv_policy", minimum=1),
    Option("kv_sinks", "int", 4, "first positions that kv_policy always keeps", minimum=0),
    Option(
        "kv_chunk",
        "int",
        64,
        "tokens read at once under kv_policy; the cache is cut to its budget after each piece",
        minimum=1,
        maximum=128,
    ),
    Option("gpu_layers", "int", None, "layers on the GPU; all when not set, none on device cpu", minimum=0),
)
_DEFAULTS: Final = {option.name: option.default for option in OPTIONS if option.default is not None}


def complete(settings: Settings) -> dict[str, OptionValue]:
    """All settings with values but ``gpu_layers``, which depends on the device."""
    chosen = {**_DEFAULTS, **settings}
    kv_type = full_kv_type(chosen)
    if chosen.get("kv_bits") is not None:
        kv_type = TYPE_OF_BITS[int(chosen["kv_bits"])]
    full: dict[str, OptionValue] = {"threads": allowed_cores(), "kv_type_k": kv_type, "kv_type_v": kv_type, **chosen}
    kinds = (str(full["kv_type_k"]), str(full["kv_type_v"]))
    # llama.cpp casts f32 keys and values to f16 for it (llama-graph.cpp, build_attn_mha): full
    # precision would be gone. Quantized values leave no choice.
    if full["flash_attention"] == "auto" and "f32" in kinds and KV_TYPES[kinds[1]] == 1:
        full["flash_attention"] = "off"
    return full


def full_kv_type(settings: Settings) -> str:
    """The type of keys and values where no setting says another."""
    return _KV_OF_DTYPE[str(settings["dtype"])]
