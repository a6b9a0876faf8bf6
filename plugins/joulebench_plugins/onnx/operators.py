"""A model's own operators, one by one, as a decode step uses them.

Each kernel is a session on a graph of that operator alone, of all layers, with the session's
options and the model's weights. What a step does besides: choosing the token, and picking the
position of the head. What a kernel does besides: each run is a call into the runtime (and, with
more than one thread, wakes its pool), where a step is one call for all of them. What stands beside
the layers (embedding, sums, SiLU) has no weights that could be packed and is called one by one.

Rotation and the write into the KV cache are part of ``attention``: they are one operator here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import helper

from joulebench.api import Kernel, Settings
from joulebench.errors import JoulebenchError
from joulebench_plugins.onnx.binding import BoundModel
from joulebench_plugins.onnx.graphfile import CONTRIB
from joulebench_plugins.onnx.inventory import Inventory, StoredTensor
from joulebench_plugins.onnx.llamagraph import attention_attributes
from joulebench_plugins.onnx.pieces import Piece, all_at_once, one_by_one, stored_array, stored_tensor

_LINEARS: Final[Mapping[str, str]] = {
    "q_proj": "self_attn",
    "k_proj": "self_attn",
    "v_proj": "self_attn",
    "o_proj": "self_attn",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "mlp",
}
_EMBEDDING: Final = "model.embed_tokens.weight"
_HEAD: Final = "lm_head.weight"
#: Rows of the embedding that are looked up in turn: which are read, the text decides.
_LOOKUPS: Final = 64
#: Speed does not depend on it.
_EPSILON: Final = 1e-5


def model_operators(
    model: BoundModel, file: Path, inventory: Inventory, settings: Settings, context: int
) -> list[Kernel]:
    """The operators of one token after ``context`` positions, which the model's cache must hold.

    Fills the cache with random numbers. Raises :class:`JoulebenchError` for a model whose
    operators are not those of ``onnx-export`` in float32.
    """
    if context >= model.cache_tokens:
        raise JoulebenchError(
            f"{context} positions and a token do not fit into {model.cache_tokens}",
            hint="raise cache_tokens of the backend, or lower the context",
        )
    try:
        maker = _OperatorMaker(model, file.parent, inventory, settings, np.random.default_rng(0))
        return [
            maker.embedding(),
            maker.norm(),
            *(maker.linear(name) for name in _LINEARS),
            maker.attention(context),
            maker.residual_add(),
            maker.silu_mul(),
            maker.head(),
        ]
    except KeyError as error:
        raise JoulebenchError(
            f"the operators of this model are not known: no float32 {error} lies beside its graph",
            where=str(file),
            hint="they are those of a model by onnx-export that no technique has rewritten",
        ) from None


@dataclass(frozen=True, slots=True)
class _OperatorMaker:
    model: BoundModel
    folder: Path
    inventory: Inventory
    settings: Settings
    random: np.random.Generator

    @property
    def layers(self) -> int:
        return len(self.model.cache) // 2

    def linear(self, name: str) -> Kernel:
        """A projection of each layer, with its bias where it has one."""
        prefixes = [f"model.layers.{layer}.{_LINEARS[name]}.{name}" for layer in range(self.layers)]
        stored = [{"w": self._tensor(f"{prefix}.weight")} for prefix in prefixes]
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        if f"{prefixes[0]}.bias" in self.inventory.tensors:
            nodes = [
                helper.make_node("MatMul", ["x", "w"], ["product"]),
                helper.make_node("Add", ["product", "b"], ["y"]),
            ]
            for prefix, own in zip(prefixes, stored, strict=True):
                own["b"] = self._tensor(f"{prefix}.bias")
        width, height = stored[0]["w"].shape
        return self._kernel(
            name,
            nodes,
            {"x": self._activation(width)},
            (1, 1, height),
            stored,
            operations=2 * width * height,
            per_token=self.layers,
            detail=f"{height} × {width}",
        )

    def head(self) -> Kernel:
        """The product with the whole vocabulary."""
        weight = self._tensor(_HEAD if _HEAD in self.inventory.tensors else _EMBEDDING)
        rows, width = weight.shape
        nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
        return self._kernel(
            "head",
            nodes,
            {"x": self._random(1, width)},
            (1, rows),
            [{"w": weight}],
            operations=2 * rows * width,
            per_token=1,
            detail=f"{rows} × {width}",
        )

    def embedding(self) -> Kernel:
        """One row of the table; the rows are far apart, so that no two share a page."""
        table = self._stored(_EMBEDDING)
        rows, width = table.shape
        ids = [np.array([[row]], np.int64) for row in range(0, rows, -(-rows // _LOOKUPS))]
        nodes = [helper.make_node("Gather", ["w", "ids"], ["y"])]
        result = {"y": np.empty((1, 1, width), np.float32)}
        piece = Piece(nodes, [{"w": table, "ids": token} for token in ids], [result] * len(ids))
        return Kernel("embedding", one_by_one(piece, self.settings), 2 * width * 4, 0, 1, "float32")

    def norm(self) -> Kernel:
        """All norms in turn: two a layer and the last."""
        names = [
            f"model.layers.{layer}.{name}.weight"
            for layer in range(self.layers)
            for name in ("input_layernorm", "post_attention_layernorm")
        ]
        stored = [{"w": self._tensor(name)} for name in [*names, "model.norm.weight"]]
        (width,) = stored[0]["w"].shape
        nodes = [
            helper.make_node("SimplifiedLayerNormalization", ["x", "w"], ["y"], axis=-1, epsilon=_EPSILON, stash_type=1)
        ]
        return self._kernel(
            "norm",
            nodes,
            {"x": self._activation(width)},
            (1, 1, width),
            stored,
            operations=4 * width,
            per_token=len(stored),  # square, sum, scale, weight
        )

    def residual_add(self) -> Kernel:
        """The sum of what goes around a block and what comes out of it."""
        (width,) = self._tensor("model.norm.weight").shape
        inputs = {"x": self._activation(width), "other": self._activation(width)}
        nodes = [helper.make_node("Add", ["x", "other"], ["y"])]
        return self._kernel(
            "residual_add", nodes, inputs, (1, 1, width), [{}], operations=width, per_token=2 * self.layers
        )

    def silu_mul(self) -> Kernel:
        """silu(gate) × up."""
        _, width = self._tensor("model.layers.0.mlp.gate_proj.weight").shape
        inputs = {"gate": self._activation(width), "up": self._activation(width)}
        nodes = [
            helper.make_node("Sigmoid", ["gate"], ["sigmoid"]),
            helper.make_node("Mul", ["gate", "sigmoid"], ["silu"]),
            helper.make_node("Mul", ["silu", "up"], ["y"]),
        ]
        return self._kernel(
            "silu_mul",
            nodes,
            inputs,
            (1, 1, width),
            [{}],
            operations=5 * width,
            per_token=self.layers,  # negate, exp, add, divide; multiply
        )

    def attention(self, context: int) -> Kernel:
        """GroupQueryAttention on the session's own cache: rotation, write, products, softmax."""
        _, kv_heads, _, head_dim = self.model.cache[0, "key"].shape
        _, query_width = self._tensor("model.layers.0.self_attn.q_proj.weight").shape
        heads, kv_width = query_width // head_dim, kv_heads * head_dim
        for buffer in self.model.cache.values():
            buffer[:, :, :context] = self._random(1, kv_heads, context, head_dim)
        tables = {name: self._tensor(name) for name in ("cos_cache", "sin_cache")}
        shared = {
            "q": self._activation(query_width),
            "k": self._activation(kv_width),
            "v": self._activation(kv_width),
            "last": np.array([context], np.int32),
            "total": np.array([context + 1], np.int32),
        }
        result = np.empty((1, 1, query_width), np.float32)
        pairs = [(self.model.cache[layer, "key"], self.model.cache[layer, "value"]) for layer in range(self.layers)]
        nodes = [
            helper.make_node(
                "GroupQueryAttention",
                ["q", "k", "v", "past_key", "past_value", "last", "total", *tables],
                ["y", "key", "value"],
                domain=CONTRIB,
                **attention_attributes(heads, kv_heads, head_dim),
            )
        ]
        piece = Piece(
            nodes,
            [{**shared, "past_key": key, "past_value": value} for key, value in pairs],
            [{"y": np.empty_like(result), "key": key, "value": value} for key, value in pairs],
            [tables] * self.layers,
        )
        read = context + 1  # what stands before, and the token itself
        numbers = (
            2 * kv_width * read  # keys and values
            + 2 * query_width  # in and out
            + 4 * kv_width  # the new ones, read and written
            + head_dim  # a row of each table
        )
        return Kernel(
            "attention",
            all_at_once(piece, self.folder, self.settings),
            4 * numbers,
            # query × keys and weights × values, a multiply and an add for each; x·cos + x'·sin
            4 * query_width * read + 3 * (query_width + kv_width),
            self.layers,
            f"float32, {context} positions before, with rotation and write to the cache",
            self.layers,
        )

    def _kernel(
        self,
        name: str,
        nodes: Sequence[Any],
        inputs: Mapping[str, Any],
        result: tuple[int, ...],
        stored: Sequence[Mapping[str, StoredTensor]],
        *,
        operations: int,
        per_token: int,
        detail: str = "",
    ) -> Kernel:
        """A kernel that reads all of its weights and inputs and writes ``y``."""
        outputs = [{"y": np.empty(result, np.float32)} for _ in stored]
        piece = Piece(nodes, [inputs] * len(stored), outputs, stored)
        run = all_at_once(piece, self.folder, self.settings) if stored[0] else one_by_one(piece, self.settings)
        moved = sum(tensor.size_bytes for tensor in stored[0].values())
        moved += sum(array.nbytes for array in [*inputs.values(), *outputs[0].values()])
        return Kernel(
            name, run, moved, operations, per_token, f"float32, {detail}" if detail else "float32", len(stored)
        )

    def _tensor(self, name: str) -> StoredTensor:
        return stored_tensor(self.inventory, name)

    def _stored(self, name: str) -> Any:
        return stored_array(self.folder, self.inventory, name)

    def _activation(self, width: int) -> Any:
        return self._random(1, 1, width)

    def _random(self, *shape: int) -> Any:
        return self.random.standard_normal(shape, np.float32)
