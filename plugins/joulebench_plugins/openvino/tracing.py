"""Traces a checkpoint into a stateful graph by the exporter of transformers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import torch
from transformers.exporters.configs import OpenVINOConfig
from transformers.exporters.exporter_openvino import OpenVINOExporter

from joulebench_plugins.openvino.attention import make_fusible
from joulebench_plugins.openvino.saving import save_graph
from joulebench_plugins.shared.exporters.tracing import (
    CACHE,
    forward_arguments,
    load_causal,
    untraceable,
    vocabulary_size,
    without_state,
)

#: Tokens of the sample: two sequences, of which some tokens are in the cache and some are new. No axis has the
#: length 1, for the tracer would take that for a constant.
_SEQUENCES: Final = 2
_CACHED: Final = 3
_NEW: Final = 2


def export(source: Path, output: Path) -> None:
    """Write the graph, its weights and ``config.json``; raises :class:`ArtifactError`."""
    model = load_causal(source)
    try:
        exported = OpenVINOExporter().export(model, _sample(model), OpenVINOConfig(dynamic=True, stateful=True))
    except Exception as error:  # torch, transformers and openvino have no common class of theirs
        raise untraceable(model, "OpenVINO", source, error) from error
    if not exported.program.get_variables():
        raise without_state(model, source)
    make_fusible(exported.program)
    save_graph(exported.program, output)
    shutil.copyfile(source / "config.json", output / "config.json")


def _sample(model: Any) -> dict[str, Any]:
    """Arguments of a forward call that continues two sequences."""
    length = _CACHED + _NEW
    ids = (torch.arange(_SEQUENCES * length).reshape(_SEQUENCES, length) * 7 + 3) % vocabulary_size(model)
    with torch.no_grad():
        cache = model(input_ids=ids[:, :_CACHED], use_cache=True)[CACHE]
    sample = {"input_ids": ids[:, _CACHED:], CACHE: cache, "use_cache": True}
    if "attention_mask" in forward_arguments(model):
        sample["attention_mask"] = torch.ones((_SEQUENCES, length), dtype=torch.long)
    if "position_ids" in forward_arguments(model):
        # Sequences of a batch begin at places of their own; and what a layer of states counts is a constant to a trace.
        sample["position_ids"] = torch.arange(_CACHED, length).expand(_SEQUENCES, -1).contiguous()
    return sample
