"""Values of a ``config.json``, checked."""

from __future__ import annotations

from collections.abc import Mapping


class UnfitModelError(Exception):
    """Why a model of this configuration cannot be taken here, in one line."""


def count(config: Mapping[str, object], key: str, default: int | None = None) -> int:
    """A whole number from 1. Raises :class:`UnfitModelError`."""
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnfitModelError(f"config.json has no usable '{key}' ({value!r})")
    return value


def number(config: Mapping[str, object], key: str, default: float | None = None) -> float:
    """A number above 0. Raises :class:`UnfitModelError`."""
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise UnfitModelError(f"config.json has no usable '{key}' ({value!r})")
    return float(value)


def even_groups(heads: int, kv_heads: int) -> None:
    """Query heads must share the key/value heads evenly. Raises :class:`UnfitModelError`."""
    if heads % kv_heads:
        raise UnfitModelError(f"{heads} heads cannot share {kv_heads} key/value heads evenly")


def refuse_quantized(config: Mapping[str, object]) -> None:
    """Raise :class:`UnfitModelError` where the weights are stored quantized."""
    if config.get("quantization_config"):
        raise UnfitModelError("the checkpoint is quantized already; take the one that it was made of")
