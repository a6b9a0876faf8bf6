"""What torch counts of a token, its hardware kernels and its operators, by hand and on a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from joulebench.api import Artifact, Kernel, Traffic
from joulebench.errors import JoulebenchError

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from torch_operations import operations_of

from joulebench_plugins.torch.backend import TorchBackend
from joulebench_plugins.torch.session import TorchSession

# The tiny checkpoint of conftest.py.
LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD, WIDTH, VOCABULARY = 2, 64, 4, 2, 16, 160, 384
F32 = 4
#: Weights of one layer's matrices: q and o, k and v, gate, up and down.
LAYER = 2 * HIDDEN * HIDDEN + 2 * KV_HEADS * HEAD * HIDDEN + 3 * WIDTH * HIDDEN


def opened(folder: Path, **settings: str | int) -> TorchSession:
    session = TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1, **settings})
    assert isinstance(session, TorchSession)
    return session


@pytest.fixture(scope="module")
def session(tiny_checkpoint: Path) -> Iterator[TorchSession]:
    with opened(tiny_checkpoint) as live:
        yield live


def test_traffic_counts_a_tied_head_whole(session: TorchSession) -> None:
    norms = (2 * LAYERS + 1) * HIDDEN
    matrices = LAYERS * LAYER + VOCABULARY * HIDDEN
    assert session.traffic() == Traffic(
        weights_bytes=F32 * (matrices + norms),
        kv_position_bytes=LAYERS * 2 * KV_HEADS * HEAD * F32,
        operations=2 * matrices,
        head_operations=2 * VOCABULARY * HIDDEN,
    )


def test_traffic_counts_a_lookup_as_one_row(tiny_checkpoint: Path) -> None:
    with opened(tiny_checkpoint, dtype="bfloat16") as tied:
        shared = tied.traffic()
        model = tied.model
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        untied = tied.traffic()
    assert shared.weights_bytes is not None
    assert untied.weights_bytes == shared.weights_bytes + HIDDEN * 2
    assert untied.operations == shared.operations
    assert shared.kv_position_bytes == LAYERS * 2 * KV_HEADS * HEAD * 2


@pytest.mark.parametrize(
    ("name", "size", "moved", "operations", "calls"),
    [
        ("read", 4096, 4096, None, {"aten.mv", "aten.amax", "aten.sum"}),  # the fastest of them here
        ("copy", 4096, 2 * 4096, 0, {"aten.copy_"}),
        ("triad", 4096, 3 * 4096, 2 * 1024, {"aten.add"}),
        ("matmul", 32, 3 * 32 * 32 * F32, 2 * 32**3, {"aten.mm"}),
        ("matvec", 32, (32 * 32 + 2 * 32) * F32, 2 * 32**2, {"aten.mv"}),
        ("launch", 0, None, None, {"aten.add_"}),
    ],
)
def test_a_hardware_kernel_counts_bytes_and_operations(
    session: TorchSession, name: str, size: int, moved: int | None, operations: int | None, calls: set[str]
) -> None:
    kernel = session.hardware_kernel(name, size)
    called = operations_of(lambda: kernel.run(3))
    assert len(called) == 3
    assert len(set(called)) == 1
    assert set(called) <= calls
    assert (kernel.bytes_moved, kernel.operations) == (moved, operations)


def test_a_product_is_of_the_sessions_number_type(tiny_checkpoint: Path) -> None:
    with opened(tiny_checkpoint, dtype="bfloat16") as live:
        assert live.hardware_kernel("matmul", 16).bytes_moved == 3 * 16 * 16 * 2
        assert live.hardware_kernel("copy", 4096).bytes_moved == 2 * 4096


def test_an_unknown_hardware_kernel_names_those_that_are_there(session: TorchSession) -> None:
    with pytest.raises(JoulebenchError, match="'scale'") as caught:
        session.hardware_kernel("scale", 1)
    assert "triad" in str(caught.value.hint)


def by_name(session: TorchSession, context: int) -> dict[str, Kernel]:
    return {operator.name: operator for operator in session.operators(context)}


def test_operators_together_are_the_token(session: TorchSession) -> None:
    operators = by_name(session, 10)
    assert {name: operator.per_token for name, operator in operators.items()} == {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), LAYERS),
        **dict.fromkeys(("gate_proj", "up_proj", "down_proj", "attention"), LAYERS),
        **dict.fromkeys(("rotary", "silu_mul", "cache_update"), LAYERS),
        "norm": 2 * LAYERS + 1,
        "residual_add": 2 * LAYERS,
        "head": 1,
        "embedding": 1,
    }
    matrices = [operator for name, operator in operators.items() if name.endswith("_proj")]
    matrices.append(operators["head"])
    whole = sum((matrix.operations or 0) * matrix.per_token for matrix in matrices)
    assert whole == session.traffic().operations


def test_operators_bytes_by_hand(session: TorchSession) -> None:
    operators = by_name(session, 10)
    assert operators["down_proj"].bytes_moved == (WIDTH * HIDDEN + WIDTH + HIDDEN) * F32
    keys_and_values = 2 * KV_HEADS * HEAD * 11  # 10 before, and the token's own
    assert operators["attention"].bytes_moved == (keys_and_values + 2 * HEADS * HEAD) * F32
    assert operators["attention"].operations == 2 * 2 * HEADS * HEAD * 11
    assert operators["embedding"].bytes_moved == 2 * HIDDEN * F32


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_operator_runs_with_the_sessions_settings(tiny_checkpoint: Path, cache: str, attention: str) -> None:
    with opened(tiny_checkpoint, cache=cache, attention=attention, dtype="bfloat16") as live:
        for kernel in live.operators(10):
            once = operations_of(lambda kernel=kernel: kernel.run(kernel.per_token))
            twice = operations_of(lambda kernel=kernel: kernel.run(2 * kernel.per_token))
            assert once, kernel.name
            assert twice == once + once, kernel.name


def test_a_run_uses_the_layers_in_turn(session: TorchSession) -> None:
    used: list[int] = []
    hooks = [
        layer.mlp.up_proj.register_forward_hook(lambda *_, place=place: used.append(place))
        for place, layer in enumerate(session.model.model.layers)
    ]
    up = by_name(session, 4)["up_proj"]
    up.run(3)
    up.run(1)
    for hook in hooks:
        hook.remove()
    assert used == [0, 1, 0, 1]


def test_operators_beyond_the_context_are_refused(session: TorchSession) -> None:
    with pytest.raises(JoulebenchError, match="do not fit"):
        session.operators(256)


def test_a_layer_with_a_module_that_is_not_known_is_run_whole(tiny_checkpoint: Path) -> None:
    with opened(tiny_checkpoint) as live:
        # As Qwen3 has it: an operator that the sum would lack.
        live.model.model.layers[0].self_attn.q_norm = torch.nn.Identity()
        operators = by_name(live, 4)
        assert {name: operator.per_token for name, operator in operators.items()} == {
            "layer": LAYERS,
            "embedding": 1,
            "norm": 1,
            "head": 1,
        }
        layer = LAYER + 2 * HIDDEN
        assert operators["layer"].bytes_moved == (layer + 2 * KV_HEADS * HEAD * 4) * F32
        del live.model.model.layers
        with pytest.raises(JoulebenchError, match="cannot be run one by one"):
            live.operators(4)
