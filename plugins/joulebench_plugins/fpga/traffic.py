"""How a model lies in the device's memory, and what one token moves and multiplies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from joulebench_plugins.fpga.law import Engine, row_beats
from joulebench_plugins.shared.llama.shape import LlamaShape

#: A scale of a row of weights or of a cached head is float32, one of a group of columns float16.
ROW_SCALE_BYTES: Final = 4
GROUP_SCALE_BYTES: Final = 2
#: Passes over the values in attention: probabilities have 14 bits, an activation 7 and its sign.
VALUE_PASSES: Final = 2


@dataclass(frozen=True, slots=True)
class TokenProduct:
    """A kind of matrix–vector product that a token needs ``times``.

    ``bits`` are those of a stored weight: 8-bit weights on a 4-bit engine are two planes of 4 bits.
    ``group`` columns share a scale; 0 is the whole row.
    """

    name: str
    rows: int
    columns: int
    bits: Literal[8, 4]
    group: int = 0
    times: int = 1
    #: Scales of 4 bytes that one of them reads; ``None`` is one for each row, or group of a row.
    scales: int | None = None

    @property
    def macs(self) -> int:
        """Multiplications of all of them."""
        return self.rows * self.columns * self.times


@dataclass(frozen=True, slots=True)
class Layout:
    """A model of a shape as an engine streams it: each row in whole beats.

    The projections of the layers have ``bits`` and ``group``; the head, which is the embedding too
    where both are tied, always has 8 bits and a scale for each row.
    """

    shape: LlamaShape
    engine: Engine
    bits: Literal[8, 4]
    group: int

    # -- products ----------------------------------------------------------------------------

    def projections(self) -> tuple[TokenProduct, ...]:
        """Those of all layers."""
        shape, bits, group, times = self.shape, self.bits, self.group, self.shape.num_hidden_layers
        return tuple(
            TokenProduct(name, rows, columns, bits, group, times)
            for name, rows, columns in (
                ("q_proj", shape.query_width, shape.hidden_size),
                ("k_proj", shape.kv_width, shape.hidden_size),
                ("v_proj", shape.kv_width, shape.hidden_size),
                ("o_proj", shape.hidden_size, shape.query_width),
                ("gate_proj", shape.intermediate_size, shape.hidden_size),
                ("up_proj", shape.intermediate_size, shape.hidden_size),
                ("down_proj", shape.hidden_size, shape.intermediate_size),
            )
        )

    def head(self) -> TokenProduct:
        """From the last hidden state to the logits."""
        return TokenProduct("head", self.shape.vocab_size, self.shape.hidden_size, 8)

    def attention(self, context: int) -> tuple[TokenProduct, TokenProduct]:
        """Scores and values of a token that sees ``context`` positions, itself included."""
        times = self.shape.num_hidden_layers * self.shape.num_attention_heads
        return (
            # A head reads the scales of its keys and of its values, both once.
            TokenProduct("scores", context, self.shape.head_dim, 8, 0, times, 2 * context),
            TokenProduct("values", self.shape.head_dim, context, 8, 0, VALUE_PASSES * times, 0),
        )

    def vectors(self, context: int) -> tuple[tuple[int, int, int], ...]:
        """(columns, group, times) of the activations that are written into the engine for a token.

        Products with the same vector need it once; those of the head are left out.
        """
        shape = self.shape
        heads = shape.num_hidden_layers * shape.num_attention_heads
        return (
            (shape.hidden_size, self.group, 2 * shape.num_hidden_layers),  # before attention, before the MLP
            (shape.query_width, self.group, shape.num_hidden_layers),
            (shape.intermediate_size, self.group, shape.num_hidden_layers),
            (shape.head_dim, 0, heads),
            (context, 0, VALUE_PASSES * heads),
        )

    # -- beats and bytes -----------------------------------------------------------------------

    def planes(self, product: TokenProduct) -> int:
        """Passes of the engine that one product takes."""
        return product.bits // self.engine.weight_bits

    def beats(self, product: TokenProduct) -> int:
        """Beats of all of them; the last of a row, or of a group, is filled up."""
        row = row_beats(self.engine, product.columns, product.group)
        return product.times * self.planes(product) * product.rows * row

    def beat_bytes(self, product: TokenProduct) -> int:
        """Bytes of these beats."""
        return self.beats(product) * self.engine.beat_bytes

    def scale_bytes(self, product: TokenProduct) -> int:
        """Scales that all of them read."""
        if product.scales is not None:
            return product.times * product.scales * ROW_SCALE_BYTES
        if product.group:
            groups = -(-product.columns // product.group)
            return product.times * product.rows * groups * GROUP_SCALE_BYTES
        return product.times * product.rows * ROW_SCALE_BYTES

    @property
    def embedding_row_bytes(self) -> int:
        """A row of the embedding that a token looks up: int8 and its scale."""
        return self.shape.hidden_size + ROW_SCALE_BYTES

    @property
    def position_bytes(self) -> int:
        """Keys and values of one position in all layers, with a scale for each head."""
        return (
            2 * self.shape.num_hidden_layers * (self.shape.kv_width + self.shape.num_key_value_heads * ROW_SCALE_BYTES)
        )

    def weights_bytes(self) -> int:
        """What a decoded token reads of the weights, with scales and one row of embedding."""
        products = (*self.projections(), self.head())
        streamed = sum(self.beat_bytes(product) + self.scale_bytes(product) for product in products)
        return streamed + self.embedding_row_bytes

    def stored_bytes(self) -> int:
        """All weights in memory; an untied embedding has a place of its own beside the head."""
        own = 0 if self.shape.tie_word_embeddings else self.shape.vocab_size * self.embedding_row_bytes
        return self.weights_bytes() - self.embedding_row_bytes + own

    def cache_bytes(self, positions: int) -> int:
        """The KV cache of so many positions."""
        return positions * self.position_bytes

    def macs(self) -> int:
        """Multiplications in the matrices of one token, the head's included."""
        return sum(projection.macs for projection in (*self.projections(), self.head()))
