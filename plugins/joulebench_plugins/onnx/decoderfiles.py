"""Which files of a folder are a decoder, and what lies beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ModelError

GENAI_FILE: Final = "genai_config.json"
CONFIG_FILE: Final = "config.json"
TOKENIZER_FILE: Final = "tokenizer.json"
#: Two graphs of one model: what reads a prompt, and what goes on after it.
PAIRS: Final = (("prefill.onnx", "decode.onnx"), ("decoder_model.onnx", "decoder_with_past_model.onnx"))
#: Both in one graph, which may lie beside them.
_MERGED: Final = "decoder_model_merged.onnx"
#: Where hubs keep a model's graphs.
_BELOW: Final = "onnx"


@dataclass(frozen=True, slots=True)
class DecoderFiles:
    """The graphs of a model; ``prompt`` is one of its own for prompts, where there is such."""

    graph: Path
    prompt: Path | None = None

    @property
    def graphs(self) -> tuple[Path, ...]:
        """All graphs, the one that reads the prompt first."""
        return (self.graph,) if self.prompt is None else (self.prompt, self.graph)


def find_decoder(path: Path) -> DecoderFiles:
    """The model in a folder, or the file itself. Raises :class:`ModelError` where it is not one."""
    if path.is_file():
        return DecoderFiles(path)
    if not path.is_dir():
        raise ModelError("no such ONNX file or folder", where=str(path))
    named = genai_config(path).get("model", {}).get("decoder", {}).get("filename")
    if isinstance(named, str):
        return DecoderFiles(_inside(path, named))
    files = sorted(path.glob("*.onnx")) or sorted((path / _BELOW).glob("*.onnx"))
    names = {file.name: file for file in files}
    if _MERGED in names and set(names) <= {_MERGED, *PAIRS[1]}:
        return DecoderFiles(names[_MERGED])
    for prompt, graph in PAIRS:
        if set(names) == {prompt, graph}:
            return DecoderFiles(names[graph], names[prompt])
    if not files:
        raise ModelError("holds no ONNX model", where=str(path), hint="give the path of an .onnx file")
    if len(files) != 1:
        listed = ", ".join(str(file.relative_to(path)) for file in files)
        raise ModelError(
            f"holds {len(files)} ONNX models, and one is run: {listed}",
            where=str(path),
            hint=f"name the file: path:{files[0]}",
        )
    return DecoderFiles(files[0])


def genai_config(folder: Path) -> Mapping[str, Any]:
    """onnxruntime-genai's description of a model; empty where there is none."""
    return _json(folder / GENAI_FILE)


def companion(graph: Path, name: str) -> Path | None:
    """A file that belongs to a graph, in its folder or, for a folder ``onnx``, in the one above."""
    folders = [graph.parent, *([graph.parent.parent] if graph.parent.name == _BELOW else [])]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def known_config(graph: Path) -> dict[str, Any]:
    """``config.json`` of a model as far as files beside its graph tell it."""
    file = companion(graph, CONFIG_FILE)
    config = dict(_json(file)) if file is not None else {}
    config.pop("auto_map", None)  # code of the checkpoint's own, which a graph does not need
    model = genai_config(graph.parent).get("model", {})
    if isinstance(model, dict):
        kind = model.get("type")
        if isinstance(kind, str):
            config.setdefault("model_type", kind)
        for source, key in (("context_length", "max_position_embeddings"), ("vocab_size", "vocab_size")):
            if isinstance(model.get(source), int):
                config.setdefault(key, model[source])
    return config


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that speaks of the decoder."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def external_file(graph: Path, location: str) -> Path:
    """The file of weights that a graph names. Raises :class:`ModelError` where it leads out of the folder.

    In the hub's cache files are links to ``blobs`` of the same model.
    """
    file = graph.parent / location
    parts = Path(location).parts
    inside = not Path(location).is_absolute() and ".." not in parts
    if inside and file.exists():
        real, folder = file.resolve(), graph.parent.resolve()
        blobs = [place / "blobs" for place in folder.parents if place.name.startswith("models--")]
        inside = any(real.is_relative_to(place) for place in (folder, *blobs))
    if not inside:
        raise ModelError(
            f"names a file of weights outside its folder: '{location}'",
            where=str(graph),
            hint="put the file beside the graph, and name it without a path",
        )
    if not file.is_file():
        raise ModelError(
            f"lacks {location}, the file with its weights", where=str(graph), hint="copy it beside the graph"
        )
    return file


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name or not (folder / name).is_file():
        raise ModelError(f"names a graph that is not in the folder: '{name}'", where=str(folder / GENAI_FILE))
    return folder / name


def _json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from None
    if not isinstance(content, dict):
        raise ModelError("is not a JSON object", where=str(file))
    return content
