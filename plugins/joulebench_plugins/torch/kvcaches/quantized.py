"""Caches of keys and values in few bits, the last ones in full precision.

After Liu et al. 2024, "KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache" (arXiv
2402.02750): a key's channels each have a range of their own over the positions of a group, a
value's positions over the channels of a group, for outliers stay in few channels of the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
import transformers
from transformers.cache_utils import DynamicLayer

from joulebench.api import Scalar
from joulebench.errors import ModelError
from joulebench_plugins.torch.kvcaches.options import Quantization
from joulebench_plugins.torch.kvcaches.packing import PackedStates, packed
from joulebench_plugins.torch.memory import cache_bytes

#: Axis of positions in (1, KV heads, positions, head size), and that of channels.
_POSITIONS: Final = 2
_CHANNELS: Final = 3
#: Of a float16.
_SCALE_BYTES: Final = 2


class QuantizedLayer(DynamicLayer):  # type: ignore[misc]
    """Packed keys and values of the earlier positions; ``keys`` and ``values`` of the last ones.

    Whole groups of positions are packed, so that between ``residual`` and ``residual`` + group - 1
    of the last positions are in full precision.
    """

    #: Declared for type checkers; transformers' layer makes them.
    keys: torch.Tensor
    values: torch.Tensor
    is_initialized: bool

    def __init__(self, quantization: Quantization) -> None:
        super().__init__()
        self._wanted = quantization
        self.seen = 0
        #: Parts of ``packed_keys`` and ``packed_values`` as a list, where storages are counted.
        self.packed_tensors: list[torch.Tensor] = []
        self._keys: PackedStates | None = None
        self._values: PackedStates | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take new keys and values; return those of all positions, in the model's number type."""
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.is_initialized = True
        keys, values = [self.keys, key_states], [self.values, value_states]
        if self._keys is not None and self._values is not None:
            keys.insert(0, self._keys.unpacked(self.dtype))
            values.insert(0, self._values.unpacked(self.dtype))
        self.seen += key_states.shape[_POSITIONS]
        whole = torch.cat(keys, dim=_POSITIONS), torch.cat(values, dim=_POSITIONS)
        self._settle(*whole)
        return whole

    def get_seq_length(self) -> int:
        """Positions that have come; all of them are here."""
        return self.seen

    @property
    def packed_positions(self) -> int:
        """Positions that are held in few bits."""
        return 0 if self._keys is None else int(self._keys.codes.shape[_POSITIONS])

    def _settle(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Pack what is older than the residual; copy the rest, so that nothing holds the whole."""
        first, group = self.packed_positions, self._wanted.group
        count = max(self.seen - self._wanted.residual - first, 0) // group * group
        end = first + count
        if count:
            bits = self._wanted.bits
            new_keys = packed(keys[:, :, first:end], bits, group, _POSITIONS)
            size = values.shape[_CHANNELS]
            new_values = packed(values[:, :, first:end], bits, min(group, size), _CHANNELS)
            if self._keys is None or self._values is None:
                self._keys, self._values = new_keys, new_values
            else:
                self._keys = self._keys.with_more(new_keys, _POSITIONS)
                self._values = self._values.with_more(new_values, _POSITIONS)
            self.packed_tensors = [*self._keys.tensors(), *self._values.tensors()]
        self.keys, self.values = keys[:, :, end:].clone(), values[:, :, end:].clone()


class QuantizedCaches:
    """Makes a model's caches. The attention stays the model's own, over unpacked numbers."""

    in_pieces = False

    def __init__(self, model: Any, quantization: Quantization, chunk: int) -> None:
        kept = {type(layer) for layer in transformers.DynamicCache(config=model.config).layers}
        if not kept <= {DynamicLayer}:
            names = ", ".join(sorted(kind.__name__ for kind in kept))
            raise ModelError(f"kv_bits needs layers that keep keys and values of every position; it has {names}")
        self._model, self._wanted = model, quantization
        self._config = model.config.get_text_config(decoder=True)
        self.chunk = chunk

    def for_answer(self, tokens: int) -> Any:
        """An empty cache."""
        layers = [QuantizedLayer(self._wanted) for _ in range(self._config.num_hidden_layers)]
        return transformers.Cache(layers=layers)

    def for_text(self, tokens: int) -> Any:
        """An empty cache; a piece sees what is packed of those before it."""
        return self.for_answer(tokens)

    # -- the record ----------------------------------------------------------------------------

    def facts(self) -> Mapping[str, Scalar]:
        """What the caches are, for the session's facts."""
        return {
            "cache": "quantized",
            "kv_bits": self._wanted.bits,
            "kv_group": self._wanted.group,
            "kv_residual": self._wanted.residual,
        }

    def _packed_position_bytes(self, heads: int, size: int) -> float:
        """Of one packed position of a layer: codes, and its share of scales and low values."""
        group = self._wanted.group
        codes = 2 * size * self._wanted.bits / 8
        groups = size / group + size / min(group, size)
        return heads * (codes + 2 * _SCALE_BYTES * groups)

    def used_bytes(self, cache: Any) -> int:
        """All that is stored: nothing is set aside for later."""
        return cache_bytes(cache)

    def account(self, cache: Any) -> dict[str, Scalar]:
        """Tokens and bytes of a cache at work, claimed by formula and counted in its storages."""
        layers = len(cache.layers)
        # As they are cached: configurations name heads in many ways.
        keys = next((layer.keys for layer in cache.layers if layer.is_initialized), None)
        heads, size = (0, 0) if keys is None else (keys.shape[1], keys.shape[_CHANNELS])
        position = layers * heads * 2 * size * self._model.dtype.itemsize
        packed_position = layers * self._packed_position_bytes(heads, size) if keys is not None else 0.0
        seen = max((layer.seen for layer in cache.layers), default=0)
        small = max((layer.packed_positions for layer in cache.layers), default=0)
        allocated = cache_bytes(cache)
        return {
            "kv_bits": self._wanted.bits,
            "kv_tokens_seen": seen,
            "kv_tokens_packed": small,
            "kv_full_bytes": seen * position,
            "kv_claimed_bytes": round(small * packed_position + (seen - small) * position),
            "kv_used_bytes": allocated,
            "kv_allocated_bytes": allocated,
            # Of one layer, while it attends: all keys and values in the model's number type.
            "kv_unpacked_layer_bytes": seen * position // max(layers, 1),
            "kv_type": f"{self._wanted.bits} bit, least values and scales in float16; the last "
            f"{seen - small} in {str(self._model.dtype).removeprefix('torch.')}",
            "note": None if small else "nothing was packed: no sequence was longer than what stays in full precision",
        }
