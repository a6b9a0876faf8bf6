"""The ONNX graph of a llama-type model, with its KV cache as inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from joulebench_plugins.onnx.graphfile import CONTRIB, GraphFile
from joulebench_plugins.onnx.nbits import Packing
from joulebench_plugins.shared.llama.rotary import rotation_tables
from joulebench_plugins.shared.llama.shape import LlamaShape
from joulebench_plugins.shared.tensors.arrays import Checkpoint

INPUT_IDS: Final = "input_ids"
LOGIT_POSITIONS: Final = "logit_positions"
LAST_POSITION: Final = "seqlens_k"
TOTAL_LENGTH: Final = "total_sequence_length"
LOGITS: Final = "logits"
#: Name of the free extent of the sequences.
BATCH: Final = "batch"
#: Under which the model's context (positions in its tables) stands in the file's metadata.
CONTEXT_KEY: Final = "context_length"


def past_name(layer: int, part: str) -> str:
    """The input that holds a layer's keys or values (``part``: ``key`` or ``value``)."""
    return f"past_key_values.{layer}.{part}"


def present_name(layer: int, part: str) -> str:
    """The output that holds them afterwards; bound to the input's buffer, nothing is copied."""
    return f"present.{layer}.{part}"


def write_llama(graph: GraphFile, checkpoint: Checkpoint, shape: LlamaShape, packing: Packing | None = None) -> None:
    """Add all nodes and weights of the model, and save it.

    ``input_ids`` (batch, tokens) stand after what the cache holds; ``total_sequence_length`` is the
    number of positions of the longest sequence with them, ``seqlens_k`` (batch,) each one's less one;
    ``logit_positions`` names those of all ``input_ids``, row behind row, whose logits are wanted, so that
    a prompt costs the head once, and a score gets all of them from the same graph.

    Products with matrices that ``packing`` has integers of are MatMulNBits on these.
    """
    _LlamaWriter(graph, checkpoint, shape, packing).write()


@dataclass(frozen=True, slots=True)
class _LlamaWriter:
    graph: GraphFile
    checkpoint: Checkpoint
    shape: LlamaShape
    packing: Packing | None

    def write(self) -> None:
        import numpy as np

        graph, shape = self.graph, self.shape
        graph.input(INPUT_IDS, np.int64, (BATCH, "tokens"))
        graph.input(LOGIT_POSITIONS, np.int64, ("kept",))
        graph.input(LAST_POSITION, np.int32, (BATCH,))
        graph.input(TOTAL_LENGTH, np.int32, (1,))
        cosines, sines = rotation_tables(shape.rope, shape.head_dim, shape.max_position_embeddings)
        graph.weight("cos_cache", cosines)
        graph.weight("sin_cache", sines)
        embedding = "model.embed_tokens.weight"
        rows = (shape.vocab_size, shape.hidden_size)
        graph.weight(embedding, self.checkpoint.tensor(embedding, rows))
        state = graph.node("Gather", [embedding, INPUT_IDS], "model.embed_tokens")
        for layer in range(shape.num_hidden_layers):
            state = self._layer(layer, state)
        flat = np.array([-1, shape.hidden_size], np.int64)
        states = graph.node("Reshape", [state, graph.constant("flat_shape", flat)], "model.rows")
        kept = graph.node("Gather", [states, LOGIT_POSITIONS], "model.kept", axis=0)
        normed = self._norm(kept, "model.norm")
        self._head(normed, embedding if shape.tie_word_embeddings else "lm_head.weight", rows)
        graph.output(LOGITS, np.float32, ("kept", shape.vocab_size))
        self._declare_cache()
        graph.save("llama", {CONTEXT_KEY: str(shape.max_position_embeddings)})

    def _head(self, state: str, name: str, rows: tuple[int, int]) -> None:
        """The logits. A tied float32 matrix is stored once, row for row as it is looked up."""
        if self.packing is not None and name in self.packing.bits:
            matrix = self.checkpoint.tensor(name, rows)
            self.packing.product(self.graph, state, name, matrix, LOGITS)
            return
        if not self.shape.tie_word_embeddings:
            self.graph.weight(name, self.checkpoint.tensor(name, rows))
        self.graph.node("Gemm", [state, name], LOGITS, transB=1)

    def _declare_cache(self) -> None:
        import numpy as np

        extents = (BATCH, self.shape.num_key_value_heads, "cache", self.shape.head_dim)
        for layer in range(self.shape.num_hidden_layers):
            for part in ("key", "value"):
                self.graph.input(past_name(layer, part), np.float32, extents)
                self.graph.output(present_name(layer, part), np.float32, extents)

    def _layer(self, layer: int, state: str) -> str:
        prefix = f"model.layers.{layer}"
        mixed = self._attention(layer, self._norm(state, f"{prefix}.input_layernorm"))
        state = self.graph.node("Add", [state, mixed], f"{prefix}.attention_residual")
        passed = self._mlp(prefix, self._norm(state, f"{prefix}.post_attention_layernorm"))
        return self.graph.node("Add", [state, passed], f"{prefix}.mlp_residual")

    def _attention(self, layer: int, state: str) -> str:
        shape, prefix = self.shape, f"model.layers.{layer}.self_attn"
        queries = shape.num_attention_heads * shape.head_dim
        keys = shape.num_key_value_heads * shape.head_dim
        hidden, biased = shape.hidden_size, shape.attention_bias
        q = self._linear(state, f"{prefix}.q_proj", hidden, queries, biased)
        k = self._linear(state, f"{prefix}.k_proj", hidden, keys, biased)
        v = self._linear(state, f"{prefix}.v_proj", hidden, keys, biased)
        mixed = self.graph.node(
            "GroupQueryAttention",
            [
                q,
                k,
                v,
                past_name(layer, "key"),
                past_name(layer, "value"),
                LAST_POSITION,
                TOTAL_LENGTH,
                "cos_cache",
                "sin_cache",
            ],
            [f"{prefix}.attention", present_name(layer, "key"), present_name(layer, "value")],
            domain=CONTRIB,
            **attention_attributes(shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim),
        )
        return self._linear(mixed, f"{prefix}.o_proj", queries, hidden, biased)

    def _mlp(self, prefix: str, state: str) -> str:
        shape, node = self.shape, self.graph.node
        hidden, wide, biased = shape.hidden_size, shape.intermediate_size, shape.mlp_bias
        gate = self._linear(state, f"{prefix}.mlp.gate_proj", hidden, wide, biased)
        up = self._linear(state, f"{prefix}.mlp.up_proj", hidden, wide, biased)
        gated = silu_times(node, gate, up, f"{prefix}.mlp")
        return self._linear(gated, f"{prefix}.mlp.down_proj", wide, hidden, biased)

    def _norm(self, state: str, name: str) -> str:
        weight = f"{name}.weight"
        self.graph.weight(weight, self.checkpoint.tensor(weight, (self.shape.hidden_size,)))
        return self.graph.node(
            "SimplifiedLayerNormalization",
            [state, weight],
            name,
            axis=-1,
            epsilon=self.shape.rms_norm_eps,
            stash_type=1,
        )

    def _linear(self, state: str, name: str, width: int, height: int, biased: bool) -> str:
        """``state`` times a matrix, plus its bias."""
        product = f"{name}.product" if biased else name
        self._product(state, f"{name}.weight", (height, width), product)
        if not biased:
            return name
        self.graph.weight(f"{name}.bias", self.checkpoint.tensor(f"{name}.bias", (height,)))
        return self.graph.node("Add", [product, f"{name}.bias"], name)

    def _product(self, state: str, name: str, size: tuple[int, int], output: str) -> None:
        """``state`` times a matrix that is stored (inputs, outputs), the transpose of its file's.

        That is the order in which onnxruntime multiplies one row without packing the matrix first.
        """
        matrix = self.checkpoint.tensor(name, size)
        if self.packing is not None and name in self.packing.bits:
            self.packing.product(self.graph, state, name, matrix, output)
            return
        self.graph.weight(name, matrix.T)
        self.graph.node("MatMul", [state, name], output)


def attention_attributes(heads: int, kv_heads: int, head_dim: int) -> dict[str, Any]:
    """Attributes of GroupQueryAttention with rotation of the two halves of each head."""
    return {
        "num_heads": heads,
        "kv_num_heads": kv_heads,
        "scale": head_dim**-0.5,
        "do_rotary": 1,
        "rotary_interleaved": 0,
    }


def silu_times(node: Callable[..., str], gate: str, up: str, prefix: str) -> str:
    """silu(gate) × up; onnxruntime makes one node of the first two."""
    sigmoid = node("Sigmoid", [gate], f"{prefix}.sigmoid")
    silu = node("Mul", [gate, sigmoid], f"{prefix}.silu")
    return node("Mul", [silu, up], f"{prefix}.gated")
