"""Loads a model's graphs into onnxruntime, and says plainly why one cannot be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime

from joulebench.api import Artifact, Settings
from joulebench.errors import JoulebenchError, ModelError, UnavailableError
from joulebench_plugins.onnx.binding import BoundModel
from joulebench_plugins.onnx.decoderfiles import DecoderFiles, find_decoder, known_config, text_config
from joulebench_plugins.onnx.failures import CONVERT_AGAIN, plain_error
from joulebench_plugins.onnx.graphfacts import decoder_fault
from joulebench_plugins.onnx.graphmodel import GraphModel, Stage
from joulebench_plugins.onnx.inventory import Node, take_inventory
from joulebench_plugins.onnx.llamagraph import CONTEXT_KEY, INPUT_IDS, LAST_POSITION, LOGIT_POSITIONS, TOTAL_LENGTH
from joulebench_plugins.onnx.options import session_options
from joulebench_plugins.onnx.ports import Decoder, Port, StatePort, classify, with_extents_of
from joulebench_plugins.onnx.providers import PROVIDERS, provider_list
from joulebench_plugins.onnx.session import OnnxSession

#: Inputs that tell the graph of ``onnx-export``, whose cache is one buffer.
_BOUND_INPUTS: Final = frozenset((INPUT_IDS, LOGIT_POSITIONS, LAST_POSITION, TOTAL_LENGTH))

_EXPORTED: Final = "export the model as a decoder with a KV cache, as transformers, optimum and onnxruntime-genai do"


def open_session(artifact: Artifact, mode: str, settings: Settings) -> OnnxSession:
    """A session on the model of ``artifact``; raises ModelError if it cannot be loaded."""
    files = decoder_files(artifact)
    options = session_options(settings)
    runtimes = [load(file, options, settings) for file in files.graphs]
    cache_tokens = _cache_tokens(runtimes[-1], files.graph, int(settings["cache_tokens"]))
    if {value.name for value in runtimes[-1].get_inputs()} >= _BOUND_INPUTS:
        model: BoundModel | GraphModel = BoundModel(runtimes[-1], cache_tokens)
    else:
        model = graph_model(runtimes, files, cache_tokens)
    return OnnxSession(runtimes, files.graphs, model, mode=mode, settings=settings)


def decoder_files(artifact: Artifact) -> DecoderFiles:
    """The graphs of an artifact, whose files of weights lie in its folder."""
    if artifact.format == "onnx":
        return find_decoder(artifact.path)
    return DecoderFiles(model_file(artifact.path, ".ort"))


def model_file(path: Path, suffix: str) -> Path:
    """The one model file of an artifact that is a folder, or the artifact itself."""
    if path.is_file():
        return path
    files = sorted(path.glob(f"*{suffix}")) if path.is_dir() else []
    if len(files) != 1:
        raise ModelError(
            f"holds {len(files)} files *{suffix}; exactly one is expected", where=str(path), hint=CONVERT_AGAIN
        )
    return files[0]


def load(file: Path, options: Any, settings: Settings) -> Any:
    """An ``InferenceSession`` on the provider that was asked for, never silently on another."""
    asked = str(settings["provider"])
    provider = PROVIDERS[asked]
    built = onnxruntime.get_available_providers()
    if provider not in built:
        raise _provider_error(asked, f"it has: {', '.join(built)}")
    try:
        runtime = onnxruntime.InferenceSession(
            str(file), options, providers=provider_list(asked, int(settings["threads"]))
        )
    except Exception as error:  # onnxruntime's own errors have no common class
        raise plain_error(file, error) from error
    if provider not in runtime.get_providers():
        raise _provider_error(asked, f"it fell back to {', '.join(runtime.get_providers())}")
    return runtime


def _provider_error(asked: str, reason: str) -> JoulebenchError:
    return UnavailableError(
        f"onnxruntime {onnxruntime.__version__} cannot use the provider '{asked}' ({PROVIDERS[asked]}); {reason}",
        hint="install an onnxruntime that is built with it, or set provider = 'cpu'",
    )


def _cache_tokens(runtime: Any, file: Path, asked: int) -> int:
    """Positions of the cache: as asked, at most the model's context where its files tell that."""
    stored = runtime.get_modelmeta().custom_metadata_map.get(CONTEXT_KEY, "")
    known = int(stored) if stored.isdigit() else text_config(known_config(file)).get("max_position_embeddings")
    return min(asked, known) if isinstance(known, int) and known > 0 else asked


def graph_model(runtimes: Sequence[Any], files: DecoderFiles, cache_tokens: int) -> GraphModel:
    """The decoder that loaded graphs are. Raises :class:`ModelError` where they are none."""
    decoders: list[Decoder] = []
    for runtime, file in zip(runtimes, files.graphs, strict=True):
        decoder, fault = classify(_ports(runtime.get_inputs()), _ports(runtime.get_outputs()))
        if decoder is None:
            raise ModelError(str(fault), where=str(file), hint=_EXPORTED)
        decoders.append(decoder)
    fault = decoder_fault(decoders)
    if fault is not None:
        raise ModelError(fault, where=str(files.graph), hint=_EXPORTED)
    if len(decoders) > 1:
        decoders[-1] = with_extents_of(decoders[0], decoders[-1])
    stages = [Stage(runtime, decoder) for runtime, decoder in zip(runtimes, decoders, strict=True)]
    shared = shared_states(files.graph, decoders[-1]) if files.prompt is None else frozenset()
    return GraphModel(stages, cache_tokens, shared=shared, window=_window(files.graph, decoders))


def shared_states(file: Path, decoder: Decoder) -> frozenset[str]:
    """Keys and values, if only GroupQueryAttention reads and writes them, so that both may be one buffer.

    All of them or none: a graph that asks for the length of one wants to know it of the others, too.
    """
    readers: dict[str, list[tuple[Node, int]]] = {}
    for node in take_inventory(file).nodes:
        for place, name in enumerate(node.inputs):
            readers.setdefault(name, []).append((node, place))
    growing = [state for state in decoder.states if state.growing_axis is not None]
    shared = {state.key for state in growing if _is_attentions_own(state, readers.get(state.input.name, []))}
    return frozenset(shared) if len(shared) == len(growing) else frozenset()


def _is_attentions_own(state: StatePort, readers: Sequence[tuple[Node, int]]) -> bool:
    # Inputs 3 and 4 are past keys and values, outputs 1 and 2 the present ones (docs/ContribOperators.md).
    return [(node.operator, place in (3, 4), node.outputs[place - 2 : place - 1]) for node, place in readers] == [
        ("GroupQueryAttention", True, (state.output.name,))
    ]


def _ports(values: Sequence[Any]) -> list[Port]:
    return [
        Port(value.name, value.type.removeprefix("tensor(").removesuffix(")"), tuple(value.shape)) for value in values
    ]


def _window(file: Path, decoders: Sequence[Decoder]) -> int | None:
    """The sliding window's length, where a graph takes it as an input."""
    names = [name for decoder in decoders for name in decoder.windows]
    if not names:
        return None
    window = text_config(known_config(file)).get("sliding_window")
    if not isinstance(window, int):
        raise ModelError(
            f"takes the length of its window as '{names[0]}', which no config.json beside it tells",
            where=str(file),
            hint="copy the checkpoint's config.json beside the graph",
        )
    return window
