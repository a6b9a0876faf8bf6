"""Which models transformers opens as causal ones, by its own lists; read as text, so that nothing heavy is imported."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.checkpoint import architecture_of

_FILE: Final = ("models", "auto", "modeling_auto.py")
_CAUSAL: Final = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
_MASKED: Final = "MODEL_FOR_MASKED_LM_MAPPING_NAMES"
#: Models of text and images, whose text part the causal class is.
_COMPOSITE: Final = ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES")
_BASE: Final = "MODEL_MAPPING_NAMES"
_NAMES: Final = (_CAUSAL, _MASKED, _BASE)
#: A list of pairs at the top level of that file.
_TAKEN_IN: Final = re.compile(r"^\s*\*list\(.*\),$", re.MULTILINE)
_LIST: Final = re.compile(r"^(\w+) = OrderedDict\(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
#: Classes of the list of masked models that are encoders; beside them are those of encoders and decoders.
_FILLS_GAPS: Final = ("ForMaskedLM", "WithLMHeadModel")
#: Keys that make decoders of them.
_DECODES: Final = ("is_decoder", "causal")


@dataclass(frozen=True, slots=True)
class ModelLists:
    """Classes by model type, as the installed transformers lists them."""

    causal: Mapping[str, str]
    masked: Mapping[str, str]
    composite: frozenset[str]
    base: Mapping[str, str]


@functools.cache
def model_lists() -> ModelLists | None:
    """The lists of the installed transformers; ``None`` where it is not here or keeps them otherwise."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        text = Path(spec.submodule_search_locations[0], *_FILE).read_text(encoding="utf-8")
        # Only these lists, without those that they take in: a syntax tree of the whole file takes 13 MiB.
        lists = {
            name: dict(ast.literal_eval(_TAKEN_IN.sub("", pairs)))
            for name, pairs in _LIST.findall(text)
            if name in (*_NAMES, *_COMPOSITE)
        }
    except (OSError, ValueError, TypeError, SyntaxError):
        return None
    if not lists.get(_CAUSAL):
        return None
    composite = frozenset(name for key in _COMPOSITE for name in lists.get(key, {}).values())
    return ModelLists(lists[_CAUSAL], lists.get(_MASKED, {}), composite, lists.get(_BASE, {}))


def is_encoder(config: Mapping[str, object]) -> bool:
    """Whether transformers opens a checkpoint of this ``config.json`` as an encoder: it reads and writes no text."""
    lists, kind = model_lists(), config.get("model_type")
    if lists is None or not isinstance(kind, str) or kind not in lists.base or config.get("is_encoder_decoder") is True:
        return False
    return kind in lists.masked and causal_fault(config) is not None


def causal_fault(config: Mapping[str, object]) -> str | None:
    """Why a checkpoint of this ``config.json`` is no causal language model to transformers, or ``None``."""
    lists = model_lists()
    kind, listed = config.get("model_type"), architecture_of(config)
    if lists is None or not isinstance(kind, str):
        return None
    expected = lists.causal.get(kind)
    if expected is None:
        known = kind in lists.base or kind in lists.masked
        return (
            f"{listed or kind} is no causal language model"
            if known
            else f"the installed transformers does not know models of type '{kind}'"
        )
    fills_gaps = lists.masked.get(kind, "").endswith(_FILLS_GAPS)
    if fills_gaps and not any(config.get(name) is True for name in _DECODES):
        # Such classes are encoders unless they are told otherwise: each token sees those after it.
        return f"{listed or kind} is an encoder: its config.json does not say is_decoder"
    if listed is None or listed in lists.composite or listed in lists.causal.values():
        return None
    if listed == lists.base.get(kind) and not fills_gaps:
        return None  # a checkpoint saved without its head, which may be the embedding
    return f"{listed} is no causal language model; transformers has {expected} for the type '{kind}'"
