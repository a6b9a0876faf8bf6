"""Whether the installed transformers has exporters, and which models they are for. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from joulebench.api import Availability, distribution_versions, require_modules

#: The first transformers whose exporters fold a cache into the graph.
_LEAST: Final = (5, 24)
#: What every exporter traces with.
_TRACING: Final = ("torch", "transformers", "safetensors")
#: How ``config.json`` names classes that write text one token after another.
_CAUSAL_ENDINGS: Final = ("ForCausalLM", "LMHeadModel")


def exporter_availability(library: str, extra: str) -> Availability:
    """Whether models can be exported to a runtime's ``library``, which the ``extra`` installs."""
    answer = require_modules((library, *_TRACING), extra)
    if not answer.ok:
        return answer
    version = distribution_versions(("transformers",)).get("transformers", "0")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) >= _LEAST:
        return answer
    least = ".".join(map(str, _LEAST))
    return Availability.no(f"transformers {version} has no exporters", f"pip install 'transformers>={least}'")


def exporter_versions(library: str) -> Mapping[str, str]:
    """Versions of what traces and writes."""
    return distribution_versions((library, *_TRACING))


def causal_fault(architecture: str | None) -> str | None:
    """Why a model of this architecture is not exported, or ``None``: whether it can be traced is seen when it is."""
    if architecture is None or architecture.endswith(_CAUSAL_ENDINGS):
        return None
    return f"exports causal language models only, not '{architecture}'"
