"""What a cell's tokens and kernels have to move and to compute."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenWork:
    """Of one token: bytes that it must move, and floating-point operations in its matrices.

    ``decode_context`` is the mean number of positions before a decoded token; ``prompt`` the
    mean number of tokens of a prefill. Unknown is ``None``.
    """

    weights_bytes: int | None = None
    kv_position_bytes: int | None = None
    operations: int | None = None
    head_operations: int | None = None
    decode_context: float | None = None
    prompt: float | None = None
    #: That share one reading of the weights.
    sequences: int = 1

    @property
    def decode_bytes(self) -> float | None:
        """Its share of the weights' bytes, and the keys and values of the positions before it."""
        if self.weights_bytes is None or self.kv_position_bytes is None:
            return None
        if self.decode_context is None:
            return None
        return self.weights_bytes / self.sequences + self.kv_position_bytes * self.decode_context

    @property
    def prefill_bytes(self) -> float | None:
        """Of a whole prompt: its share of the weights, and the keys and values that it leaves behind."""
        if self.weights_bytes is None or self.kv_position_bytes is None or self.prompt is None:
            return None
        return self.weights_bytes / self.sequences + self.kv_position_bytes * self.prompt

    @property
    def prefill_operations(self) -> float | None:
        """Of a whole prompt: every matrix for each token, but the head for the last alone."""
        if self.operations is None or self.head_operations is None or self.prompt is None:
            return None
        return (self.operations - self.head_operations) * self.prompt + self.head_operations


@dataclass(frozen=True, slots=True)
class KernelWork:
    """Of a cell that repeats one kernel: which (``read``, ``matmul``, ``q_proj``), and its work.

    ``moved_bytes`` and ``operations`` are of one run; ``per_token`` says how often a token's
    decode step does it, ``None`` for what is no part of one. ``context`` is the number of
    positions in the cache for an operator.
    """

    name: str
    moved_bytes: float | None
    operations: float | None
    per_token: int | None
    array_bytes: float | None
    cache_bytes: float | None
    context: int | None
