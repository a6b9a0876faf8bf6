"""What the layers of a model keep, asked of transformers in another process before anything is loaded."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joulebench.api import Settings
from joulebench.backendkit import asked_elsewhere

#: Types whose layers keep the keys and values of every position, unless their configuration says otherwise.
PLAIN_TYPES: Final = ("llama", "mistral", "qwen2", "qwen3")
_PROBE: Final = """
import json, logging, os, pathlib, tempfile
os.environ["HF_HUB_OFFLINE"] = "1"
logging.disable(logging.CRITICAL)
from transformers import AutoConfig, DynamicCache
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "config.json").write_text({config!r}, "utf-8")
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
takes = bool(model._supports_default_dynamic_cache())
layers = [type(layer).__name__ for layer in DynamicCache(config=config).layers] if takes else []
print(json.dumps([takes, sorted(set(layers)), bool(model._can_compile_fullgraph), bool(model._supports_sdpa)]))
"""
_EVERY_POSITION: Final = "DynamicLayer"


@dataclass(frozen=True, slots=True)
class LayerKinds:
    """What transformers says of a model's class."""

    #: Whether it keeps what it has read in a ``Cache``, not in a state of its own.
    takes_cache: bool
    #: The classes of that cache's layers.
    layers: tuple[str, ...]
    #: Whether its decode step can be compiled in one piece.
    compiles: bool
    #: Whether it has torch's fused attention.
    sdpa: bool

    @property
    def keeps_every_position(self) -> bool:
        """Whether each layer keeps the keys and values of all positions, and nothing else."""
        return self.layers == (_EVERY_POSITION,)


def layer_kinds(config: Mapping[str, object]) -> LayerKinds | None:
    """Of the model that ``config.json`` describes; ``None`` where transformers does not say."""
    if not isinstance(config.get("model_type"), str):
        return None
    return _asked(json.dumps(dict(config), sort_keys=True))


@functools.cache
def _asked(config: str) -> LayerKinds | None:
    answer = asked_elsewhere(_PROBE.format(config=config))
    if not isinstance(answer, list):
        return None
    takes, layers, compiles, sdpa = answer
    return LayerKinds(takes, tuple(layers), compiles, sdpa)


def kinds_fault(settings: Settings, config: Mapping[str, object]) -> str | None:
    """Why a model of this ``config.json`` cannot have the cache, the compilation or the attention that is asked for."""
    static, compiled = settings.get("cache") == "static", bool(settings.get("compile"))
    if not (static or compiled or settings.get("attention") == "sdpa") or config.get("model_type") in PLAIN_TYPES:
        return None
    kinds, name = layer_kinds(config), config.get("model_type")
    if kinds is None:
        return None
    if static and not kinds.takes_cache:
        return f"models of type '{name}' keep a state of their own size: leave cache at 'dynamic'"
    if compiled and not kinds.compiles:
        return f"transformers cannot compile a decode step of models of type '{name}'"
    if settings.get("attention") == "sdpa" and not kinds.sdpa:
        return f"models of type '{name}' have no sdpa: leave attention at 'auto'"
    return None
