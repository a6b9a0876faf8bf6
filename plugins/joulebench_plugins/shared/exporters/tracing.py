"""Loads a checkpoint to be traced, and says in a line why one could not be."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from joulebench.checkpoint import inspect_checkpoint
from joulebench.errors import ArtifactError

#: The argument that takes the cache. Under its older names the exporters leave the cache outside of the graph.
CACHE: Final = "cache"
_HINT: Final = "run this model on a backend that reads checkpoints as they are"
#: Characters of a tracer's message that a report shows.
_SHOWN: Final = 300


def load_model(source: Path) -> Any:
    """The checkpoint as a causal model in float32. Raises :class:`ArtifactError`."""
    inspect_checkpoint(source)
    transformers.logging.set_verbosity_error()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(source), dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except Exception as error:  # transformers raises what it likes
        raise ArtifactError(f"transformers cannot load it: {first_line(error)}", where=str(source)) from error
    return model.eval()


def load_causal(source: Path) -> Any:
    """The same, where its cache is of transformers' kind. Raises :class:`ArtifactError`."""
    model = load_model(source)
    if CACHE not in forward_arguments(model):
        raise ArtifactError(
            f"{type(model).__name__} takes no cache of transformers' kind, which the exporters need",
            where=str(source),
            hint=_HINT,
        )
    return model


def forward_arguments(model: Any) -> frozenset[str]:
    """Names of the arguments of a model's forward call."""
    return frozenset(inspect.signature(type(model).forward).parameters)


def vocabulary_size(model: Any) -> int:
    """Number of token ids."""
    return int(model.config.get_text_config(decoder=True).vocab_size)


def untraceable(model: Any, library: str, source: Path, error: Exception) -> ArtifactError:
    """What is raised for a model that an exporter failed on."""
    name = type(model).__name__
    return ArtifactError(
        f"transformers {transformers.__version__} cannot export {name} to {library}: {first_line(error)}",
        where=str(source),
        hint=_HINT,
    )


def without_state(model: Any, source: Path) -> ArtifactError:
    """What is raised for a graph that keeps no cache."""
    return ArtifactError(f"{type(model).__name__}: the exported graph keeps no cache", where=str(source), hint=_HINT)


def first_line(error: BaseException) -> str:
    """The first line of the innermost cause, cut off where it is long."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).strip().splitlines() or [""]
    text = f"{type(cause).__name__}: {lines[0]}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
