"""The compressed caches that a session's settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from joulebench.api import Scalar, Settings
from joulebench_plugins.torch.kvcaches.options import Quantization, compression_of


class Caches(Protocol):
    """What a session needs of either kind."""

    #: Prompts are read in pieces, too.
    in_pieces: bool
    #: Tokens of a piece of a text that is scored.
    chunk: int

    def for_answer(self, tokens: int) -> Any:
        """An empty cache for a prompt of so many tokens and its answer."""

    def for_text(self, tokens: int) -> Any:
        """An empty cache for a text that is read in pieces."""

    def used_bytes(self, cache: Any) -> int:
        """Bytes of the keys and values that count."""

    def account(self, cache: Any) -> dict[str, Scalar]:
        """Tokens and bytes of a cache at work."""

    def facts(self) -> Mapping[str, Scalar]:
        """What the caches are."""


def open_caches(model: Any, settings: Settings) -> Caches | None:
    """Caches for a loaded model; ``None`` where its own are wanted."""
    compression = compression_of(settings)
    if compression is None:
        return None
    if isinstance(compression, Quantization):
        from joulebench_plugins.torch.kvcaches.quantized import QuantizedCaches

        return QuantizedCaches(model, compression, int(settings["kv_chunk"]))
    from joulebench_plugins.torch.kvcaches.evicting import EvictingCaches

    return EvictingCaches(model, compression)
