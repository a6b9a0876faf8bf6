"""What a cell's tokens and kernels have to move and to compute, from its record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session.tables import CellRow


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

    @property
    def decode_bytes(self) -> float | None:
        """Weights, and the keys and values of the positions before the token."""
        if self.weights_bytes is None or self.kv_position_bytes is None:
            return None
        if self.decode_context is None:
            return None
        return self.weights_bytes + self.kv_position_bytes * self.decode_context

    @property
    def prefill_bytes(self) -> float | None:
        """Of a whole prompt: the weights once, and the keys and values that it leaves behind."""
        if self.weights_bytes is None or self.kv_position_bytes is None or self.prompt is None:
            return None
        return self.weights_bytes + self.kv_position_bytes * self.prompt

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


def token_work(row: CellRow, requests: pa.Table) -> TokenWork:
    """From the cell's row and its requests."""
    return TokenWork(
        weights_bytes=row.token_weights_bytes,
        kv_position_bytes=row.token_kv_bytes,
        operations=row.token_operations,
        head_operations=row.token_head_operations,
        decode_context=_decode_context(requests),
        prompt=_mean_prompt(requests),
    )


def _decode_context(requests: pa.Table) -> float | None:
    """Mean over decoded tokens of the positions before each.

    After a prompt of p tokens (read in this request, or before it: ``context_tokens``), token j of
    d has p + j - 1 before it: p + (d - 1) / 2 in the mean.
    """
    import pyarrow.compute as pc

    known = requests.filter(pc.and_(pc.is_valid(requests["prefill_tokens"]), pc.greater(requests["decode_tokens"], 0)))
    if known.num_rows == 0:
        return None
    before = _first_values(known).get("context_tokens") or 0.0
    decoded = pc.cast(known["decode_tokens"], "float64")
    prompts = pc.add(pc.cast(known["prefill_tokens"], "float64"), float(before))
    if pc.min(prompts).as_py() <= 0:
        return None  # nobody says what was read before the window
    context = pc.add(prompts, pc.divide(pc.subtract(decoded, 1.0), 2.0))
    mean: float = pc.sum(pc.multiply(decoded, context)).as_py() / pc.sum(decoded).as_py()
    return mean


def _mean_prompt(requests: pa.Table) -> float | None:
    """Mean tokens of a prefill."""
    import pyarrow.compute as pc

    read = requests.filter(pc.and_(pc.is_valid(requests["prefill_s"]), pc.greater(requests["prefill_tokens"], 0)))
    if read.num_rows == 0:
        return None
    mean: float = pc.mean(read["prefill_tokens"]).as_py()
    return mean


def kernel_work(row: CellRow, workload: str, requests: pa.Table) -> KernelWork | None:
    """What the cell repeats; ``None`` for a cell that repeats no kernel.

    ``workload`` is the plugin's name, which names the kernel where its settings do not.
    """
    values = _first_values(requests)
    if "kernel_runs" not in values:
        return None
    settings = workload_settings(row)
    name = settings.get("pattern") or settings.get("operator") or workload
    per_token, context = values.get("kernel_per_token"), settings.get("context")
    return KernelWork(
        name=str(name),
        moved_bytes=values.get("kernel_bytes"),
        operations=values.get("kernel_operations"),
        per_token=None if per_token is None else int(per_token),
        array_bytes=values.get("array_bytes"),
        cache_bytes=values.get("cache_bytes"),
        context=context if isinstance(context, int) else None,
    )


def workload_settings(row: CellRow) -> Mapping[str, Any]:
    """The workload's settings as the cell recorded them."""
    return _settings(row, "workload")


def backend_settings(row: CellRow) -> Mapping[str, Any]:
    """The backend's settings as the cell recorded them."""
    return _settings(row, "backend")


def _settings(row: CellRow, part: str) -> Mapping[str, Any]:
    try:
        read = json.loads(row.settings_json or "{}")
    except ValueError:
        return {}
    settings = read.get(part) if isinstance(read, dict) else None
    return settings if isinstance(settings, dict) else {}


def _first_values(requests: pa.Table) -> Mapping[str, float]:
    """The further figures of the first request; those read here are the same in all."""
    import pyarrow.compute as pc

    known = requests["values_json"].filter(pc.is_valid(requests["values_json"]))
    if len(known) == 0:
        return {}
    try:
        values = json.loads(known[0].as_py())
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
