"""KV compression: techniques that keep fewer or smaller keys and values."""

from __future__ import annotations

from joulebench.api import Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """One that keeps all in fewer bits, and those that keep some positions."""
    from joulebench_plugins.kvcache.evict import KvExpectedAttention, KvFastGen, KvH2o, KvSnapKv, KvTova, KvWindow
    from joulebench_plugins.kvcache.quantize import KvQuantize

    return [KvQuantize, KvWindow, KvH2o, KvSnapKv, KvTova, KvExpectedAttention, KvFastGen]
