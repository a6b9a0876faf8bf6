"""What a user's own model says of itself, read by another process so that this one stays light."""

from __future__ import annotations

import functools
import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from joulebench.backendkit import asked_elsewhere
from joulebench.errors import ModelError
from joulebench.weightkit import shares
from joulebench_plugins.onnx.decoderfiles import DecoderFiles, external_file
from joulebench_plugins.onnx.ports import Decoder, Port, classify, paired_fault


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """Types and bytes of the weights, where they lie, and why the graphs are no decoder (``fault``)."""

    weight_types: str
    quantization: str | None
    bits_per_weight: float | None
    locations: tuple[str, ...]
    fault: str | None


def graph_facts(files: DecoderFiles) -> GraphFacts | None:
    """The facts of a model; ``None`` where the ``onnx`` package is not here.

    Raises :class:`ModelError` for a file that is no whole ONNX model.
    """
    if importlib.util.find_spec("onnx") is None:
        return None
    state = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files.graphs)
    answer = _asked(state)
    if not isinstance(answer, dict) or "error" in answer:
        reason = answer["error"] if isinstance(answer, dict) else "its reader ended, or took longer than a minute"
        raise ModelError(f"is no whole ONNX model: {reason}", where=str(files.graph))
    return GraphFacts(**{**answer, "locations": tuple(answer["locations"])})


@functools.lru_cache(maxsize=64)
def _asked(state: tuple[tuple[str, int, int], ...]) -> Any:
    names = [name for name, _, _ in state]
    return asked_elsewhere(f"from joulebench_plugins.onnx.graphfacts import print_facts; print_facts({names!r})")


def print_facts(names: list[str]) -> None:
    """Print the facts of the graphs of one model, as JSON; in the other process."""
    try:
        print(json.dumps(asdict(_read([Path(name) for name in names]))))
    except Exception as error:  # protobuf's errors have no common class
        print(json.dumps({"error": (str(error).strip() or type(error).__name__).splitlines()[0]}))


def _read(files: list[Path]) -> GraphFacts:
    from joulebench_plugins.onnx.inventory import read_inventory
    from joulebench_plugins.onnx.numbertypes import model_bits, quantized_type, weights_by_type

    inventory = read_inventory(files[-1])
    locations = sorted({tensor.file for tensor in inventory.tensors.values() if tensor.file is not None})
    if len(files) > 1:
        more = read_inventory(files[0]).tensors.values()
        locations = sorted({*locations, *(tensor.file for tensor in more if tensor.file is not None)})
    return GraphFacts(
        weight_types=shares(weights_by_type(inventory)),
        quantization=quantized_type(inventory),
        bits_per_weight=model_bits(inventory),
        locations=tuple(locations),
        fault=_fault(files),
    )


def _fault(files: list[Path]) -> str | None:
    decoders: list[Decoder] = []
    for file in files:
        decoder, fault = classify(*read_ports(file))
        if decoder is None:
            return f"{file.name} {fault}" if len(files) > 1 else fault
        decoders.append(decoder)
    return decoder_fault(decoders)


def decoder_fault(decoders: list[Decoder]) -> str | None:
    """Why one graph, or a prompt's and the one that follows it, are no decoder with a memory."""
    last = decoders[-1]
    if not last.states:
        return "takes no keys, values or states of earlier tokens: name the folder with the graph that does"
    if len(decoders) > 1:
        return paired_fault(decoders[0], last)
    return None


def read_ports(file: Path) -> tuple[list[Port], list[Port]]:
    """Inputs and outputs of an .onnx file, without its weights."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [_port(value) for value in graph.input if value.name not in stored]
    return inputs, [_port(value) for value in graph.output]


def _port(value: Any) -> Port:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    shape = tuple(
        int(size.dim_value) if size.HasField("dim_value") else (size.dim_param or None) for size in tensor.shape.dim
    )
    return Port(value.name, TensorProto.DataType.Name(tensor.elem_type).lower(), shape)


def weight_files(files: DecoderFiles, facts: GraphFacts) -> tuple[Path, ...]:
    """The files that the weights lie in. Raises :class:`ModelError` where one leads out of the folder."""
    return tuple(external_file(files.graph, location) for location in facts.locations)
