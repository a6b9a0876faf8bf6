"""Bytes that tensors hold: each storage counted once, however many tensors share it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import torch

#: How layers of transformers' caches call what they keep beside keys and values.
STATES: Final = ("conv_states", "recurrent_states")


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


def cache_bytes(memory: Any) -> int:
    """Bytes that a cache's layers, or a model's own state, keep allocated, whatever they call their tensors."""
    return storage_bytes(_tensors(memory))


def state_bytes(memory: Any) -> int:
    """Bytes of them that do not grow with the text: states of convolutions and recurrences."""
    layers = getattr(memory, "layers", None)
    if layers is None:
        return cache_bytes(memory)
    return storage_bytes(
        tensor for layer in layers for name in STATES for tensor in _tensors(getattr(layer, name, None))
    )


def cache_bytes_used(memory: Any, positions: int) -> int | None:
    """Bytes of the states, and of the keys and values of ``positions`` tokens; ``None`` for other kinds of layer."""
    if not positions:
        return 0
    used = state_bytes(memory)
    for layer in getattr(memory, "layers", None) or ():
        if not getattr(layer, "is_initialized", True):
            return None
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None)):
            if tensor is None:  # a layer of states alone, or one that keeps nothing
                continue
            if tensor.ndim != 4:  # batch, heads, positions, head size
                return None
            length = tensor.shape[2]
            if length:
                used += tensor.nbytes // length * min(positions, length)
    return used


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.ndim:  # else a count of positions, which some layers keep as a tensor
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "layers"):  # a Cache of transformers
        for layer in value.layers:
            yield from _tensors(vars(layer))
    elif type(value).__name__.endswith("Cache"):  # a model's own
        yield from _tensors(vars(value))
