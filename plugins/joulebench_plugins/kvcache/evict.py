"""Techniques that keep some positions of the KV cache and forget the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from joulebench.api import BackendSession, Option, OptionValue, RuntimeTechnique, Scalar, Settings


def _sinks(default: int) -> Option:
    return Option("sinks", "int", default, "first positions, which are always kept", minimum=0)


_BUDGET = Option("budget", "int", 512, "positions that each layer keeps", minimum=1)
_SHARE = Option(
    "share", "share", None, "the budget as a share of the prompt, in place of budget", minimum=0.01, maximum=1.0
)
_CHUNK = Option(
    "chunk",
    "int",
    64,
    "tokens read at once when a text is scored; the cache is cut to its budget after each piece",
    minimum=1,
    maximum=128,
)


class _Evicts(RuntimeTechnique):
    """What they have in common: options that go to the session under names with ``kv_``."""

    requires = frozenset({"kv.evict"})
    policy: ClassVar[str]

    def session_options(self, settings: Settings) -> Settings:
        """The policy and its settings."""
        options: dict[str, OptionValue] = {"kv_policy": self.policy}
        return options | {f"kv_{name}": value for name, value in settings.items()}

    def evidence(self, session: BackendSession, settings: Settings) -> Mapping[str, Scalar]:
        """Tokens seen and kept; bytes of a full cache, claimed, allocated and used."""
        (capability,) = self.requires
        return session.observed(capability)


class KvWindow(_Evicts):
    """Keeps the first and the last positions: StreamingLLM (Xiao et al. 2023, arXiv 2309.17453).

    Prompts are read through the window as well, ``chunk`` tokens at a time. Positions stay true,
    where the paper counts them within the cache.
    """

    name = "kv-window"
    summary = "KV cache of the first and the last positions (StreamingLLM)"
    policy = "window"
    requires = frozenset({"kv.window"})
    options = (
        _BUDGET,
        _sinks(4),
        Option(
            "chunk",
            "int",
            64,
            "tokens read at once, also in prompts; the cache is cut to its budget after each piece",
            minimum=1,
            maximum=128,
        ),
    )


class KvH2o(_Evicts):
    """Keeps what has received most attention, and the last positions (H2O, arXiv 2306.14048)."""

    name = "kv-h2o"
    summary = "KV cache of heavy hitters and the last positions (H2O)"
    policy = "h2o"
    options = (
        _BUDGET,
        _SHARE,
        _sinks(0),
        Option(
            "window", "int", None, "last positions, which are always kept; half of the budget when not set", minimum=0
        ),
        _CHUNK,
    )


class KvSnapKv(_Evicts):
    """Keeps what a prompt's last queries look at (SnapKV, arXiv 2404.14469); answers whole."""

    name = "kv-snapkv"
    summary = "KV cache of what a prompt's last queries attend to (SnapKV)"
    policy = "snapkv"
    options = (
        _BUDGET,
        _SHARE,
        _sinks(0),
        Option(
            "window",
            "int",
            32,
            "last positions of the prompt, whose queries choose and which are always kept",
            minimum=1,
        ),
        _CHUNK,
    )


class KvTova(_Evicts):
    """Keeps what the last query looks at, alike in all heads (TOVA, arXiv 2401.06104)."""

    name = "kv-tova"
    summary = "KV cache of what the last query attends to (TOVA)"
    policy = "tova"
    options = (_BUDGET, _SHARE, _sinks(0), _CHUNK)


class KvExpectedAttention(_Evicts):
    """Keeps what future queries are expected to look at (arXiv 2510.00636); answers whole."""

    name = "kv-expected-attention"
    summary = "KV cache of what future queries are expected to attend to"
    policy = "expected-attention"
    options = (_BUDGET, _SHARE, _sinks(4), _CHUNK)


class KvFastGen(_Evicts):
    """Chooses a policy for each head by its attention (after FastGen, arXiv 2310.01801).

    A layer of the cache is a rectangle: it is as long as its most demanding head wants, and only
    what that leaves is freed. The evidence has both, claimed and kept.
    """

    name = "kv-fastgen"
    summary = "KV cache by a policy for each head; frees what a layer's widest head leaves"
    policy = "fastgen"
    options = (
        Option(
            "recovery",
            "share",
            0.95,
            "share of a head's attention that its kept positions must cover",
            minimum=0.01,
            maximum=1.0,
        ),
        Option("local", "share", 0.3, "local window, as a share of the prompt", minimum=0.01, maximum=1.0),
        Option(
            "frequent", "share", 0.3, "most attended positions, as a share of the prompt", minimum=0.01, maximum=1.0
        ),
        _sinks(4),
        _CHUNK,
    )
