"""A llama whose products are of integers: weights of 8 or 4 bits, activations and KV cache of 8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from joulebench_plugins.fpga.arithmetic import Array
from joulebench_plugins.fpga.checkpoint import TrackedCheckpoint
from joulebench_plugins.fpga.model.cache import IntegerKvCache
from joulebench_plugins.fpga.model.matrices import Matrix, quantized_activations, quantized_groups, quantized_rows
from joulebench_plugins.fpga.model.products import Products
from joulebench_plugins.fpga.model.rotation import rotated
from joulebench_plugins.shared.llama.rotary import rotation_tables
from joulebench_plugins.shared.llama.shape import LlamaShape

#: Probabilities are integers of this many bits, in two parts of 7: an engine's pass for each.
PROBABILITY_BITS: Final = 14
_PART_BITS: Final = PROBABILITY_BITS // 2
#: Tokens of a prompt that attend at once: bounds the scores to so many rows of the context.
_CHUNK: Final = 128

#: Tensors that a checkpoint may hold beside those that are used.
_IGNORED: Final = frozenset({"lm_head.weight"})


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer."""

    input_norm: Array
    post_norm: Array
    q_proj: Matrix
    k_proj: Matrix
    v_proj: Matrix
    o_proj: Matrix
    gate_proj: Matrix
    up_proj: Matrix
    down_proj: Matrix

    def matrices(self) -> tuple[Matrix, ...]:
        """In the order of their use."""
        return (self.q_proj, self.k_proj, self.v_proj, self.o_proj, self.gate_proj, self.up_proj, self.down_proj)


class IntegerLlama:
    """The model of a checkpoint, quantized as it is read. ``group`` > 0 makes its layers int4."""

    def __init__(self, shape: LlamaShape, checkpoint: TrackedCheckpoint, group: int) -> None:
        self.shape = shape
        names = _Names(shape, checkpoint, group)
        self.layers = tuple(names.layer(number) for number in range(shape.num_hidden_layers))
        self.final_norm = checkpoint.tensor("model.norm.weight", (shape.hidden_size,))
        table = (shape.vocab_size, shape.hidden_size)
        self.embedding = quantized_rows("embed", checkpoint.tensor(_EMBEDDING, table))
        self.head = self.embedding
        if not shape.tie_word_embeddings:
            self.head = quantized_rows("head", checkpoint.tensor("lm_head.weight", table))
        checkpoint.refuse_unread(_IGNORED if shape.tie_word_embeddings else frozenset())
        self._cosines, self._sines = rotation_tables(shape.rope, shape.head_dim, shape.max_position_embeddings)

    def hidden(self, tokens: Array, cache: IntegerKvCache, products: Products) -> Array:
        """Read tokens after what is in the cache; final hidden states, float32 (tokens, hidden)."""
        first = cache.length
        x = self.embedding.looked_up(tokens)
        for number, layer in enumerate(self.layers):
            y = self._normed(x, layer.input_norm)
            x = x + self._attention(number, layer, y, cache, products)
            y = self._normed(x, layer.post_norm)
            x = x + self._mlp(layer, y, products)
            products.next_layer()
        cache.length = first + len(tokens)
        return self._normed(x, self.final_norm)

    def logits(self, hidden: Array, products: Products) -> Array:
        """float32, (tokens, vocabulary)."""
        return _linear((self.head,), hidden, products)[0]

    def _attention(self, number: int, layer: Layer, y: Array, cache: IntegerKvCache, products: Products) -> Array:
        import numpy as np

        shape, first, tokens = self.shape, cache.length, len(y)
        q, k, v = _linear((layer.q_proj, layer.k_proj, layer.v_proj), y, products)
        place = slice(first, first + tokens)
        cosines, sines = self._cosines[place], self._sines[place]
        queries = rotated(q.reshape(tokens, shape.num_attention_heads, -1), cosines, sines)
        keys = rotated(k.reshape(tokens, shape.num_key_value_heads, -1), cosines, sines)
        cache.write(number, first, keys, v.reshape(tokens, shape.num_key_value_heads, -1))
        out = np.empty((tokens, shape.query_width), np.float32)
        for start in range(0, tokens, _CHUNK):
            chunk = slice(start, min(start + _CHUNK, tokens))
            seen = first + chunk.stop
            out[chunk] = self._attend(number, queries[chunk], first + start, seen, cache, products)
        return _linear((layer.o_proj,), out, products)[0]

    def _attend(
        self, number: int, queries: Array, first: int, seen: int, cache: IntegerKvCache, products: Products
    ) -> Array:
        """Queries (tokens, heads, head_dim) from position ``first`` on, over ``seen`` positions."""
        import numpy as np

        shape = self.shape
        keys, key_scales, values, value_scales = cache.layer(number, seen)
        share = shape.num_attention_heads // shape.num_key_value_heads
        integers, scales = quantized_activations(queries)
        sums = products.scores(keys, integers, first).astype(np.float32)
        scores = sums * (scales[..., 0].T[..., None] / np.float32(np.sqrt(shape.head_dim)))
        scores *= np.repeat(key_scales, share, axis=0)[:, None, :]
        probabilities = _softmax(scores, first)
        # The scales of the values are the probabilities' matter: the engine sums integers.
        weighted = probabilities * np.repeat(value_scales, share, axis=0)[:, None, :]
        high, low, unit = _two_parts(weighted)
        sums = products.values(values, high, first).astype(np.int64) << _PART_BITS
        sums += products.values(values, low, first)
        mixed = sums.astype(np.float32) * unit.transpose(1, 0, 2)
        return mixed.reshape(len(queries), shape.query_width)

    def _mlp(self, layer: Layer, y: Array, products: Products) -> Array:
        import numpy as np

        gate, up = _linear((layer.gate_proj, layer.up_proj), y, products)
        with np.errstate(over="ignore"):  # exp overflows to infinity where SiLU is 0
            active = gate / (np.float32(1) + np.exp(-gate)) * up
        return _linear((layer.down_proj,), active, products)[0]

    def _normed(self, x: Array, weight: Array) -> Array:
        """RMS norm (Zhang and Sennrich, 2019)."""
        import numpy as np

        mean = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
        return x / np.sqrt(mean + np.float32(self.shape.rms_norm_eps)) * weight


_EMBEDDING: Final = "model.embed_tokens.weight"


class _Names:
    """Reads and quantizes the matrices of a checkpoint by transformers' names."""

    def __init__(self, shape: LlamaShape, checkpoint: TrackedCheckpoint, group: int) -> None:
        self._shape, self._checkpoint, self._group = shape, checkpoint, group

    def layer(self, number: int) -> Layer:
        shape, stem = self._shape, f"model.layers.{number}"

        def norm(name: str) -> Array:
            return self._checkpoint.tensor(f"{stem}.{name}.weight", (shape.hidden_size,))

        def matrix(part: str, name: str, rows: int, columns: int) -> Matrix:
            weights = self._checkpoint.tensor(f"{stem}.{part}.{name}.weight", (rows, columns))
            label = f"layer {number} {name}"
            if self._group:
                return quantized_groups(label, weights, self._group)
            return quantized_rows(label, weights)

        hidden, wide = shape.hidden_size, shape.intermediate_size
        return Layer(
            norm("input_layernorm"),
            norm("post_attention_layernorm"),
            matrix("self_attn", "q_proj", shape.query_width, hidden),
            matrix("self_attn", "k_proj", shape.kv_width, hidden),
            matrix("self_attn", "v_proj", shape.kv_width, hidden),
            matrix("self_attn", "o_proj", hidden, shape.query_width),
            matrix("mlp", "gate_proj", wide, hidden),
            matrix("mlp", "up_proj", wide, hidden),
            matrix("mlp", "down_proj", hidden, wide),
        )


def _linear(matrices: tuple[Matrix, ...], x: Array, products: Products) -> list[Array]:
    """Several matrices times the same vectors, quantized once: float32, (tokens, rows) each."""
    integers, scales = quantized_activations(x)
    return [matrix.scaled(products.matrix(matrix, integers), scales) for matrix in matrices]


def _softmax(scores: Array, first: int) -> Array:
    """Over the positions that each token sees: token i the first ``first + i + 1``."""
    import numpy as np

    tokens, context = scores.shape[1:]
    hidden = np.arange(context) > first + np.arange(tokens)[:, None]
    scores[:, hidden] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _two_parts(weights: Array) -> tuple[Array, Array, Array]:
    """Weights of 0 and more as integers of 14 bits in two parts of 7, and each vector's unit."""
    import numpy as np

    most = (1 << PROBABILITY_BITS) - 1
    unit = weights.max(axis=-1, keepdims=True) / np.float32(most)
    unit = np.where(unit == 0, np.float32(1), unit).astype(np.float32)
    # Never beyond 14 bits, though a quotient may round to one more.
    integers = np.minimum(np.rint(weights / unit), most).astype(np.int32)
    part = (1 << _PART_BITS) - 1
    return (integers >> _PART_BITS).astype(np.int8), (integers & part).astype(np.int8), unit
