"""What the KV cache holds, as evidence of a technique: tokens and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from joulebench.api import Scalar
from joulebench_plugins.llamacpp.counting import kv_allocated_bytes, kv_position_bytes
from joulebench_plugins.llamacpp.kvwindow import PositionWindow
from joulebench_plugins.llamacpp.log import Allocations
from joulebench_plugins.llamacpp.settings import TYPE_OF_BITS
from joulebench_plugins.shared.tensors.gguf import GgufTensor


@dataclass(frozen=True, slots=True)
class KvUse:
    """How the cache was asked for: ``full_type`` is the type that it has without a technique."""

    full_type: str = "f32"
    bits: int | None = None
    window: PositionWindow | None = None

    def kept(self, length: int) -> int:
        """Positions that are here of the first ``length``."""
        return length if self.window is None else self.window.kept(length)


def kv_account(tensors: Sequence[GgufTensor], allocated: Allocations, use: KvUse, length: int) -> dict[str, Scalar]:
    """After ``length`` tokens.

    Bytes are counted from the tensors' shapes. What is claimed follows from the settings, what is
    used from the types that the library said it had made, what is allocated from its log.
    """
    kept = use.kept(length)
    evicted = kept < length
    note = None
    if allocated.kv_layers == 0:
        note = "the model's layers are recurrent: it has no keys and values"
    elif use.window is not None and not evicted:
        note = "nothing was evicted: no sequence was longer than what is kept"
    claimed_type = use.full_type if use.bits is None else TYPE_OF_BITS[use.bits]
    used = kv_position_bytes(tensors, allocated)
    return {
        "kv_bits": use.bits,
        "kv_policy": None if use.window is None else "window",
        "kv_tokens_seen": length,
        "kv_tokens_kept_mean": kept,
        "kv_full_bytes": _times(_position_bytes(tensors, allocated, use.full_type), length),
        "kv_claimed_bytes": _times(_position_bytes(tensors, allocated, claimed_type), kept),
        "kv_used_bytes": _times(used, kept),
        # All cells from the start, whether they are used or not.
        "kv_allocated_bytes": kv_allocated_bytes(used, allocated),
        "kv_cells": allocated.kv_cells,
        "kv_type": f"{allocated.kv_type_k}, {allocated.kv_type_v}",
        "kv_evicted": None if use.window is None or allocated.kv_layers == 0 else evicted,
        "note": note,
    }


def _position_bytes(tensors: Sequence[GgufTensor], allocated: Allocations, kind: str) -> int | None:
    return kv_position_bytes(tensors, replace(allocated, kv_type_k=kind, kv_type_v=kind))


def _times(position_bytes: int | None, count: int) -> int | None:
    return None if position_bytes is None else position_bytes * count
