"""What a token costs, counted from a GGUF file's tensors: by the kinds of layers that models have."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebench_plugins.llamacpp.counting import kv_position_bytes, traffic_of
from joulebench_plugins.llamacpp.log import Allocations, read_allocations
from joulebench_plugins.shared.tensors.gguf import GgufModel, GgufTensor, Value

#: A layer with attention: four heads of queries, two of keys and values, 16 wide.
ATTENTION = {"attn_q": (64, 64), "attn_k": (64, 32), "attn_v": (64, 32), "attn_output": (64, 64)}
FUSED = {"attn_qkv": (64, 128), "attn_output": (64, 64)}
RECURRENT = {"ssm_in": (64, 256), "ssm_conv1d": (4, 128), "ssm_out": (128, 64)}
EXPERTS = {"ffn_gate_inp": (64, 4), "ffn_up_exps": (64, 32, 4), "ffn_down_exps": (32, 64, 4)}


def model(
    *layers: dict[str, tuple[int, ...]], values: dict[str, Value] | None = None, **tables: tuple[int, ...]
) -> GgufModel:
    """A float32 model of such layers, with an embedding of 100 rows that is the head as well."""
    names = {"token_embd": (64, 100), **tables} | {
        f"blk.{number}.{name}": sizes for number, layer in enumerate(layers) for name, sizes in layer.items()
    }
    tensors = []
    for name, sizes in names.items():
        tensor = GgufTensor(f"{name}.weight", "f32", sizes, 0)
        tensors.append(GgufTensor(tensor.name, "f32", sizes, 4 * tensor.count))
    return GgufModel((Path("m.gguf"),), {"general.architecture": "a", **(values or {})}, tuple(tensors))


def allocated(layers: int | None, cells: int | None = 256) -> Allocations:
    return Allocations(None, None, None, cells, layers, "f32", "f16", None)


#: Keys in float32, values in float16: 32 of each in a layer.
POSITION = 32 * 4 + 32 * 2


@pytest.mark.parametrize(
    ("layers", "cached", "expected"),
    [
        ((ATTENTION, ATTENTION), 2, 2 * POSITION),
        ((FUSED, FUSED), 2, 2 * POSITION),
        ((RECURRENT, ATTENTION), 1, POSITION),
        ((RECURRENT, RECURRENT), 0, 0),
        ((ATTENTION, ATTENTION), 1, None),  # layers that share keys and values
        ((ATTENTION, ATTENTION), None, None),  # some keep a window
        (({"attn_kv_a_mqa": (64, 40), "attn_output": (64, 64)},), 1, None),  # compressed
    ],
)
def test_a_position_takes_what_the_layers_with_attention_keep(
    layers: tuple[dict[str, tuple[int, ...]], ...], cached: int | None, expected: int | None
) -> None:
    assert kv_position_bytes(model(*layers).tensors, allocated(cached, None if cached == 0 else 256)) == expected


def test_a_token_goes_through_the_experts_that_the_file_says() -> None:
    dense = 64 * 100 + sum(a * b for a, b in ATTENTION.values()) + 64 * 4
    experts = 2 * 64 * 32 * 4
    counts: dict[str, Value] = {"a.expert_count": 4, "a.expert_used_count": 1}
    traffic = traffic_of(model({**ATTENTION, **EXPERTS}, values=counts), allocated(1))
    assert traffic.weights_bytes == 4 * (dense + experts // 4)
    assert traffic.operations == 2 * (dense + experts // 4)
    assert traffic.head_operations == 2 * 64 * 100
    unknown = traffic_of(model({**ATTENTION, **EXPERTS}), allocated(1))
    assert (unknown.weights_bytes, unknown.operations, unknown.kv_position_bytes) == (None, None, POSITION)


def test_of_tables_that_are_looked_up_a_token_reads_a_row() -> None:
    layer = sum(a * b for a, b in FUSED.values())
    traffic = traffic_of(model(FUSED, position_embd=(64, 512), output=(64, 100)), allocated(1))
    assert traffic.weights_bytes == 4 * (layer + 64 + 64 + 64 * 100)
    assert traffic.operations == 2 * (layer + 64 * 100)


def test_the_library_s_log_tells_attention_from_states() -> None:
    cache = (
        "llama_kv_cache: size =    0.12 MiB (   256 cells,   1 layers,  1/1 seqs), "
        "K (f32):    0.06 MiB, V (f16):    0.06 MiB"
    )
    state = (
        "llama_memory_recurrent: size =    0.02 MiB (     1 cells,   1 layers,  1 seqs), "
        "R (f32):    0.01 MiB, S (f32):    0.01 MiB"
    )
    hybrid, recurrent = read_allocations([cache, state]), read_allocations([state])
    windowed = read_allocations([cache, cache])
    assert (hybrid.kv_layers, hybrid.kv_cells, hybrid.kv_type_v) == (1, 256, "f16")
    assert hybrid.state_bytes == recurrent.state_bytes == round(0.02 * 2**20)
    assert (recurrent.kv_layers, recurrent.kv_bytes) == (0, 0)
    assert (windowed.kv_layers, windowed.state_bytes) == (None, None)
