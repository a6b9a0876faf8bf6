"""One layer of a cache that keeps some of its positions: storage, and no choice."""

from __future__ import annotations

from typing import Any, Final

import torch
from transformers.cache_utils import DynamicLayer

#: Entries that are made room for at once where a cache grows while it writes an answer.
GROWTH: Final = 64


class EvictingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of the kept positions, in front of a buffer; the rest of it is free.

    ``keys`` and ``values`` are (1, KV heads, capacity, head size). Entry i of a head is of the
    position ``positions[head, i]``, counted from the sequence's start: keys are rotated before
    they come here, so an entry keeps its true position wherever it lies. New entries come last.

    ``most`` is what the policy lets stay, ``None`` where it says so only when it has seen the
    prompt; ``room`` what comes at once on top of that.
    """

    #: Declared for type checkers; transformers' layer makes them.
    keys: torch.Tensor
    values: torch.Tensor
    is_initialized: bool

    def __init__(self, most: int | None, room: int, *, sums: bool) -> None:
        super().__init__()
        self.most, self.room = most, room
        #: Positions that have come, entries that are here, and how many of them came last.
        self.seen = self.length = self.arrived = 0
        #: Entries that the policy itself asked for, over heads; a rectangle may hold more.
        self.claimed: float | None = None
        self.positions: torch.Tensor | None = None
        #: Attention that each entry has received so far, if the policy keeps count of it.
        self.received: torch.Tensor | None = None
        #: What a policy carries from one piece of a text to the next.
        self.moments: Any = None
        self._counts_attention = sums

    # -- what transformers calls ---------------------------------------------------------------

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take new keys and values; return all that are here."""
        count = key_states.shape[2]
        end = self.length + count
        self._make_room(end, key_states, value_states)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        assert self.positions is not None  # noqa: S101
        self.positions[:, self.length : end] = torch.arange(self.seen, self.seen + count, device=key_states.device)
        if self.received is not None:
            self.received[:, self.length : end] = 0.0
        self.seen += count
        self.length, self.arrived = end, count
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Positions that have come: the next one's number, whatever is kept."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Entries that a mask would have to cover, and where they begin."""
        return self.length + query_length, 0

    # -- what a policy calls -------------------------------------------------------------------

    def entries(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keys, values (KV heads, entries, head size) and positions (KV heads, entries)."""
        assert self.positions is not None  # noqa: S101
        length = self.length
        return self.keys[0, :, :length], self.values[0, :, :length], self.positions[:, :length]

    def drop_one(self, victims: torch.Tensor) -> None:
        """Forget one entry of each head; the last one takes its place, nothing else moves."""
        last = self.length - 1
        for tensor in (self.keys[0], self.values[0], self.positions, self.received):
            if tensor is None:
                continue
            place = victims.view(-1, 1, *([1] * (tensor.ndim - 2)))
            moved = tensor[:, last : last + 1].clone()
            tensor.scatter_(1, place.expand_as(moved), moved)
        self.length = last

    def keep(self, kept: torch.Tensor) -> None:
        """Forget all but these entries: (KV heads, number), in the order that they get."""
        count = kept.shape[1]
        whole = self.most is None or self.keys.shape[2] > self.most + self.room
        capacity = count + self._spare(count) if whole else self.keys.shape[2]
        self.keys = _kept(self.keys[0], kept, capacity)[None]
        self.values = _kept(self.values[0], kept, capacity)[None]
        assert self.positions is not None  # noqa: S101
        self.positions = _kept(self.positions, kept, capacity)
        if self.received is not None:
            self.received = _kept(self.received, kept, capacity)
        self.length = count

    # -- storage -------------------------------------------------------------------------------

    def _spare(self, length: int) -> int:
        """Free entries to have behind ``length``."""
        return GROWTH if self.most is None else max(self.most + self.room - length, 0)

    def _make_room(self, needed: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        if self.positions is None:
            heads = keys.shape[1]
            self.dtype, self.device = keys.dtype, keys.device
            self.keys = keys.new_empty((1, heads, 0, keys.shape[3]))
            self.values = values.new_empty((1, heads, 0, values.shape[3]))
            self.positions = torch.empty((heads, 0), dtype=torch.int32, device=keys.device)
            if self._counts_attention:
                self.received = torch.empty((heads, 0), dtype=torch.float32, device=keys.device)
            self.is_initialized = True
        if needed <= self.keys.shape[2]:
            return
        capacity = needed
        if self.length:  # it grows by steps or pieces, and will go on to
            capacity += min(GROWTH, self._spare(needed))
        self.keys = _grown(self.keys, 2, self.length, capacity)
        self.values = _grown(self.values, 2, self.length, capacity)
        self.positions = _grown(self.positions, 1, self.length, capacity)
        if self.received is not None:
            self.received = _grown(self.received, 1, self.length, capacity)


def _kept(tensor: torch.Tensor, kept: torch.Tensor, capacity: int) -> torch.Tensor:
    """The kept entries of (KV heads, entries, …), in front of a buffer of ``capacity``.

    The buffer is a new one where the size changes: a slice would hold on to all of the old one.
    """
    place = kept.view(*kept.shape, *([1] * (tensor.ndim - 2)))
    chosen = tensor.gather(1, place.expand(*kept.shape, *tensor.shape[2:]))
    if tensor.shape[1] == capacity:
        tensor[:, : kept.shape[1]] = chosen
        return tensor
    buffer = tensor.new_empty((tensor.shape[0], capacity, *tensor.shape[2:]))
    buffer[:, : kept.shape[1]] = chosen
    return buffer


def _grown(tensor: torch.Tensor, axis: int, used: int, capacity: int) -> torch.Tensor:
    shape = list(tensor.shape)
    shape[axis] = capacity
    buffer = tensor.new_empty(shape)
    buffer.narrow(axis, 0, used).copy_(tensor.narrow(axis, 0, used))
    return buffer
