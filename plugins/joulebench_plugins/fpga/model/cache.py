"""The KV cache: int8, with a float32 scale for each head and position."""

from __future__ import annotations

from joulebench_plugins.fpga.arithmetic import Array
from joulebench_plugins.fpga.model.matrices import quantized_activations
from joulebench_plugins.shared.llama.shape import LlamaShape


class IntegerKvCache:
    """Keys and values of all layers, for so many positions; ``length`` of them are in use."""

    def __init__(self, shape: LlamaShape, positions: int) -> None:
        import numpy as np

        size = (shape.num_hidden_layers, shape.num_key_value_heads, positions)
        self.positions = positions
        self.length = 0
        self._keys = np.zeros((*size, shape.head_dim), np.int8)
        self._values = np.zeros((*size, shape.head_dim), np.int8)
        self._key_scales = np.zeros(size, np.float32)
        self._value_scales = np.zeros(size, np.float32)

    def write(self, layer: int, first: int, keys: Array, values: Array) -> None:
        """Quantize keys and values, (tokens, kv heads, head_dim), of positions ``first`` …"""
        place = slice(first, first + len(keys))
        for stored, scales, heads in ((self._keys, self._key_scales, keys), (self._values, self._value_scales, values)):
            integers, own = quantized_activations(heads)
            stored[layer, :, place] = integers.transpose(1, 0, 2)
            scales[layer, :, place] = own[..., 0].T

    def layer(self, number: int, count: int) -> tuple[Array, Array, Array, Array]:
        """Keys, their scales, values, their scales of the first ``count`` positions.

        Integers are (kv heads, count, head_dim), scales (kv heads, count).
        """
        return (
            self._keys[number, :, :count],
            self._key_scales[number, :, :count],
            self._values[number, :, :count],
            self._value_scales[number, :, :count],
        )
