"""The folder of a graph: its files, and what its ``config.json`` says, read without the library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from joulebench.checkpoint import read_json
from joulebench.errors import ModelError

#: Names as the hub's models have them.
GRAPH: Final = "openvino_model.xml"
#: How configurations name the positions that a model was made for; older ones first have their own names.
_CONTEXTS: Final = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


def graph_file(folder: Path) -> Path:
    """The graph in a folder, whose weights lie beside it. Raises :class:`ModelError`."""
    graph = folder / GRAPH
    if not graph.is_file():
        raise ModelError(f"has no {GRAPH}", where=str(folder), hint="give the folder of a decoder's OpenVINO graph")
    if not graph.with_suffix(".bin").is_file():
        raise ModelError(
            f"lacks {graph.with_suffix('.bin').name}, the weights of its graph",
            where=str(folder),
            hint="copy or fetch that file as well",
        )
    return graph


def read_configuration(folder: Path) -> dict[str, Any]:
    """``config.json`` beside the graph; empty where there is none."""
    file = folder / "config.json"
    return read_json(file) if file.is_file() else {}


def context_of(config: Mapping[str, Any]) -> int | None:
    """Positions that the model was made for, where its configuration says."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        for name in _CONTEXTS:
            value = part.get(name)
            if type(value) is int and value > 0:
                return value
    return None
