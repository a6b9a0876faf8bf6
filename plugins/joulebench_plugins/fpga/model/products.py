"""Who multiplies: numpy, exactly; or the RTL engine, product by product."""

from __future__ import annotations

from typing import Protocol

from joulebench_plugins.fpga.arithmetic import Array
from joulebench_plugins.fpga.model.matrices import Matrix


class Products(Protocol):
    """The integer products of a model. All arguments and results are integers."""

    def matrix(self, matrix: Matrix, x: Array) -> Array:
        """Accumulators of ``x`` (tokens, columns), int8; shaped as :meth:`Matrix.products` says."""

    def scores(self, keys: Array, queries: Array, first: int) -> Array:
        """Each query with the keys of the positions that it sees: int32, (heads, tokens, context).

        ``keys`` is (kv heads, context, head_dim), ``queries`` (tokens, heads, head_dim), both int8.
        The first of the tokens is at position ``first``; what a query does not see is undefined.
        """

    def next_layer(self) -> None:
        """Tell that a layer is done and the products of the next one follow."""

    def values(self, values: Array, weights: Array, first: int) -> Array:
        """Weighted sums over positions: int32, (tokens, heads, head_dim).

        ``values`` is (kv heads, context, head_dim), ``weights`` (heads, tokens, context), both
        int8; the weights of positions that a token does not see are 0.
        """


class ExactProducts:
    """numpy's. float64 holds every sum of products of int8 exactly."""

    def matrix(self, matrix: Matrix, x: Array) -> Array:
        """All rows at once."""
        return matrix.products(x)

    def next_layer(self) -> None:
        """All layers are alike."""

    def scores(self, keys: Array, queries: Array, first: int) -> Array:
        """All heads and tokens at once, unseen positions as well."""
        import numpy as np

        kv_heads, context, width = keys.shape
        tokens, heads, _ = queries.shape
        grouped = _by_kv_head(queries.transpose(1, 0, 2), kv_heads)
        wide = np.asarray(keys, np.float64).transpose(0, 2, 1)
        sums = np.asarray(grouped, np.float64).reshape(kv_heads, -1, width) @ wide
        return sums.astype(np.int32).reshape(heads, tokens, context)

    def values(self, values: Array, weights: Array, first: int) -> Array:
        """All heads and tokens at once."""
        import numpy as np

        kv_heads, context, width = values.shape
        heads, tokens, _ = weights.shape
        grouped = np.asarray(weights, np.float64).reshape(kv_heads, -1, context)
        sums = grouped @ np.asarray(values, np.float64)
        return sums.astype(np.int32).reshape(heads, tokens, width).transpose(1, 0, 2)


def _by_kv_head(by_head: Array, kv_heads: int) -> Array:
    """(heads, tokens, n) with the heads of one KV head side by side: they already are."""
    heads, tokens, width = by_head.shape
    return by_head.reshape(kv_heads, heads // kv_heads * tokens, width)
