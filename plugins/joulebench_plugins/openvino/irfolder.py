"""The files of a graph, and what they say of it, read without the library."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.api import ModelFile
from joulebench.checkpoint import read_json
from joulebench.errors import ModelError
from joulebench.weightkit import bits_per_weight, counted, shares
from joulebench_plugins.openvino.numbertypes import PACKED, word

#: Names as the hub's models have them.
GRAPH: Final = "openvino_model.xml"
ENDING: Final = "xml"
#: How configurations name the positions that a model was made for; older ones first have their own names.
_CONTEXTS: Final = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
#: A stored tensor in a graph's text: its type, its shape and its bytes.
_STORED: Final = re.compile(
    rb'type="Const"[^>]*>\s*<data element_type="(\w+)" shape="([\d, ]*)" offset="(\d+)" size="(\d+)"'
)
#: Every graph ends so.
_END: Final = b"</net>"
_INDICES: Final = frozenset({"i64", "i32", "boolean", "u64", "u32", "string"})


def graph_file(path: Path) -> Path:
    """The graph of a folder, or the file itself; its weights lie beside it. Raises :class:`ModelError`."""
    graph = path if path.is_file() else path / GRAPH
    if not graph.is_file():
        raise ModelError(f"has no {GRAPH}", where=str(path), hint="give the folder of a decoder's OpenVINO graph")
    if not weights_file(graph).is_file():
        raise ModelError(
            f"lacks {weights_file(graph).name}, the weights of its graph",
            where=str(graph.parent),
            hint="copy or fetch that file as well",
        )
    return graph


def weights_file(graph: Path) -> Path:
    """The file with a graph's weights."""
    return graph.with_suffix(".bin")


def read_configuration(graph: Path) -> dict[str, Any]:
    """``config.json`` beside the graph; empty where there is none. Code that it names is never run."""
    file = graph.parent / "config.json"
    return {key: value for key, value in read_json(file).items() if key != "auto_map"} if file.is_file() else {}


def context_of(config: Mapping[str, Any]) -> int | None:
    """Positions that the model was made for, where its configuration says."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        for name in _CONTEXTS:
            value = part.get(name)
            if type(value) is int and value > 0:
                return value
    return None


@dataclass(frozen=True, slots=True)
class _Stored:
    dtype: str
    count: int
    size_bytes: int


def describe(path: Path) -> ModelFile:
    """What a user's own graph is. Raises :class:`ModelError` for one that is not whole."""
    graph = graph_file(path)
    weights = weights_file(graph)
    stored = _stored(graph, weights.stat().st_size)
    counts = counted((tensor.dtype, tensor.count) for tensor in stored)
    main = max(counts, key=lambda kind: counts[kind], default=None)
    bits = bits_per_weight(sum(tensor.size_bytes for tensor in stored), sum(counts.values()))
    files = (graph, weights)
    return ModelFile(
        files=files,
        size_bytes=sum(file.stat().st_size for file in files),
        config=read_configuration(graph),
        numbers=f"{shares(counts)}, {bits:.2f} bits per weight" if bits is not None else "no weights",
        quantization=main if main in PACKED else None,
        beside=graph.parent if (graph.parent / "tokenizer.json").is_file() else None,
    )


def _stored(graph: Path, weights_bytes: int) -> list[_Stored]:
    """Weights by the graph's text, each stored place once; scales and zero points count as bytes alone."""
    try:
        text = graph.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(graph)) from None
    if not text.rstrip().endswith(_END):
        raise ModelError("is no whole graph", where=str(graph), hint="fetch or copy the file again")
    places: dict[int, _Stored] = {}
    for kind, shape, offset, size in _STORED.findall(text):
        dtype, begin, length = kind.decode(), int(offset), int(size)
        if begin + length > weights_bytes:
            raise ModelError(
                f"is truncated: {weights_bytes:,} bytes where the graph's weights end at {begin + length:,}",
                where=str(weights_file(graph)),
                hint="fetch or copy the file again",
            )
        lengths = [int(part) for part in shape.split(b",") if part.strip()]
        if dtype not in _INDICES and lengths:
            # The last axis of what is shared by a group has the length 1.
            count = 0 if lengths[-1] == 1 else math.prod(lengths)
            places[begin] = _Stored(word(dtype), count, length)
    return list(places.values())
