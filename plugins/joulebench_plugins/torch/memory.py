"""Bytes that tensors hold: each storage counted once, however many tensors share it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch


def storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the distinct storages behind ``tensors`` (a view counts as its whole storage)."""
    sizes: dict[tuple[str, int], int] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        sizes[str(tensor.device), storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def weight_bytes(model: Any) -> int:
    """Bytes of parameters, buffers and packed matrices; tied weights count once."""
    from joulebench_plugins.torch.weightcount import packed_bytes, plain_tensors

    held = (*model.parameters(), *model.buffers())
    return packed_bytes(model) + storage_bytes(tensor for parameter in held for tensor in plain_tensors(parameter))


def cache_bytes(cache: Any) -> int:
    """Bytes that the layers of a KV cache keep allocated, whatever they call their tensors."""
    return storage_bytes(tensor for layer in cache.layers for tensor in _tensors(vars(layer)))


def cache_bytes_used(cache: Any, positions: int) -> int | None:
    """Bytes of the keys and values of ``positions`` tokens; ``None`` for other kinds of layer."""
    used = 0
    for layer in cache.layers:
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None)):
            if tensor is None:
                if positions:
                    return None
                continue
            if tensor.ndim != 4:  # batch, heads, positions, head size
                return None
            length = tensor.shape[2]
            if length:
                used += tensor.nbytes // length * min(positions, length)
    return used


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
