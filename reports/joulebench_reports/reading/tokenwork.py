"""What a cell's tokens and kernels have to move and to compute, from its record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.session.tables import CellRow
from joulebench_reports.reading.rows import StoredCell, StoredRequest
from joulebench_reports.values.tokenwork import KernelWork, TokenWork


def token_work(row: CellRow, stored: StoredCell) -> TokenWork:
    """From the cell's row and its requests; a batch reads the weights once for a token of each sequence."""
    sequences = next((request.sequences for request in stored.requests if request.sequences), 1)
    return TokenWork(
        sequences=sequences,
        weights_bytes=row.token_weights_bytes,
        kv_position_bytes=row.token_kv_bytes,
        operations=row.token_operations,
        head_operations=row.token_head_operations,
        decode_context=_decode_context(stored.requests, _first_values(stored)),
        prompt=_mean_prompt(stored.requests),
    )


def _decode_context(requests: Sequence[StoredRequest], values: Mapping[str, float]) -> float | None:
    """Mean over decoded tokens of the positions before each.

    After a prompt of p tokens (read in this request, or before it: ``context_tokens``), token j of
    d has p + j - 1 before it: p + (d - 1) / 2 in the mean.
    """
    before = float(values.get("context_tokens") or 0.0)
    # Tokens of one sequence.
    known = [
        (request.prefill_tokens / sequences + before, request.decode_tokens / sequences)
        for request in requests
        if request.prefill_tokens is not None and request.decode_tokens
        for sequences in (request.sequences or 1,)
    ]
    if not known or min(prompt for prompt, _ in known) <= 0:
        return None  # nobody says what was read before the window
    positions = math.fsum(decoded * (prompt + (decoded - 1) / 2) for prompt, decoded in known)
    return positions / math.fsum(decoded for _, decoded in known)


def _mean_prompt(requests: Sequence[StoredRequest]) -> float | None:
    """Mean tokens of a prompt."""
    prompts = [
        request.prefill_tokens / (request.sequences or 1)
        for request in requests
        if request.prefill_s is not None and request.prefill_tokens
    ]
    return sum(prompts) / len(prompts) if prompts else None


def kernel_work(row: CellRow, workload: str, stored: StoredCell) -> KernelWork | None:
    """What the cell repeats; ``None`` for a cell that repeats no kernel.

    ``workload`` is the plugin's name, which names the kernel where its settings do not.
    """
    values = _first_values(stored)
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


def numeric_settings(row: CellRow) -> tuple[tuple[str, float], ...]:
    """Numbers among the settings of backend and workload, by their keys: axes that a profile may vary."""
    both = {**_settings(row, "workload"), **_settings(row, "backend")}
    return tuple(
        (key, float(value))
        for key, value in both.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    )


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


def _first_values(stored: StoredCell) -> Mapping[str, float]:
    """The further figures of the first request; those read here are the same in all."""
    try:
        values = json.loads(stored.first_values or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
