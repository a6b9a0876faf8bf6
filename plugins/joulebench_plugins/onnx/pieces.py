"""Small graphs of one operator each, on the stored weights of a model, ready to be run."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import NodeProto, StringStringEntryProto, TensorProto, helper

from joulebench.api import Settings
from joulebench_plugins.onnx.binding import bind_input, bind_output
from joulebench_plugins.onnx.graphfile import CONTRIB, IR_VERSION, OPSET
from joulebench_plugins.onnx.inventory import Inventory, StoredTensor
from joulebench_plugins.onnx.options import session_options
from joulebench_plugins.onnx.providers import provider_list

#: Arrays by the names that a piece's nodes give them.
Arrays = Mapping[str, Any]
#: Where the runtime looks for weights that a graph in memory names
#: (onnxruntime_session_options_config_keys.h, as the one below).
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
#: A pool's threads sleep as soon as a run ends. Each piece has its own pool, and threads of all
#: the others that go on waiting awake would take the cores: 8 times slower with two of them.
_SLEEP_AFTER_RUN = "session.force_spinning_stop"


@dataclass(frozen=True, slots=True)
class Piece:
    """One operator: its nodes, and what each of its instances (one a layer) reads and writes.

    ``inputs`` and ``results`` are bound in place. ``weights`` are the model's own, constants of
    the graph as they are in the model's.
    """

    nodes: Sequence[Any]
    inputs: Sequence[Arrays]
    results: Sequence[Arrays]
    weights: Sequence[Mapping[str, StoredTensor]] = ()


def one_by_one(piece: Piece, settings: Settings) -> Callable[[int], None]:
    """``run(n)``: the instances one after another in a circle, going on where it ended.

    For operators without constants; the instances share a session.
    """

    @functools.cache
    def calls() -> itertools.cycle[Callable[[], None]]:
        session = _session(piece.nodes, piece.inputs[0], piece.results[0], settings)
        instances = zip(piece.inputs, piece.results, strict=True)
        return itertools.cycle([_bound(session, *instance) for instance in instances])

    def run(times: int) -> None:
        for call in itertools.islice(calls(), times):
            call()

    return run


def all_at_once(piece: Piece, folder: Path, settings: Settings) -> Callable[[int], None]:
    """``run(n)``: all instances by one call into the runtime, as a model's step has them.

    Only as constants are weights what they are to the model: packed beforehand, if its session
    does that. Between two runs of an instance lie all the others, so none finds its weights in a
    cache because the run before used them. The weights' files lie in ``folder``.
    """

    @functools.cache
    def call() -> Callable[[], None]:
        nodes: list[Any] = []
        constants: dict[str, StoredTensor] = {}
        inputs: dict[str, Any] = {}
        results: dict[str, Any] = {}
        shared = _shared(piece.inputs) | _shared(piece.weights)
        for place, (own, out) in enumerate(zip(piece.inputs, piece.results, strict=True)):
            weights = piece.weights[place] if piece.weights else {}
            rename = functools.partial(_renamed, place, shared)
            nodes += [_copied(node, rename) for node in piece.nodes]
            constants |= {rename(name): tensor for name, tensor in weights.items()}
            inputs |= {rename(name): array for name, array in own.items()}
            results |= {rename(name): array for name, array in out.items()}
        stored = [_constant(name, tensor) for name, tensor in constants.items()]
        session = _session(nodes, inputs, results, settings, stored, folder)
        return _bound(session, inputs, results)

    def run(times: int) -> None:
        once = call()
        for _ in range(times):
            once()

    return run


def _shared(instances: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Names under which all instances have one and the same array, or tensor."""
    first = instances[0] if instances else {}
    return frozenset(name for name, own in first.items() if all(instance[name] is own for instance in instances))


def _renamed(place: int, shared: frozenset[str], name: str) -> str:
    return name if name in shared or not name else f"{name}.{place}"


def _copied(node: Any, rename: Callable[[str], str]) -> Any:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = map(rename, node.input)
    copy.output[:] = map(rename, node.output)
    return copy


def _constant(name: str, tensor: StoredTensor) -> Any:
    place = {"location": tensor.file, "offset": str(tensor.offset), "length": str(tensor.size_bytes)}
    return TensorProto(
        name=name,
        dims=tensor.shape,
        data_type=helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)),
        data_location=TensorProto.EXTERNAL,
        external_data=[StringStringEntryProto(key=key, value=value) for key, value in place.items()],
    )


def _bound(session: Any, inputs: Arrays, results: Arrays) -> Callable[[], None]:
    binding = session.io_binding()
    for name, array in inputs.items():
        bind_input(binding, name, array)
    for name, array in results.items():
        bind_output(binding, name, array)
    return functools.partial(session.run_with_iobinding, binding)


def _session(
    nodes: Sequence[Any],
    inputs: Arrays,
    results: Arrays,
    settings: Settings,
    constants: Sequence[Any] = (),
    folder: Path | None = None,
) -> Any:
    """A session on a graph of these nodes, with the options of the model's own."""
    graph = helper.make_graph(
        list(nodes), "piece", list(_value_infos(inputs)), list(_value_infos(results)), list(constants)
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    # A model in ORT format was optimised before: to this level.
    options = session_options({"graph_optimization": "extended", **settings})
    options.add_session_config_entry(_SLEEP_AFTER_RUN, "1")
    if folder is not None:
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(folder))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=provider_list(str(settings["provider"]), int(settings["threads"]))
    )


def _value_infos(arrays: Arrays) -> Iterator[Any]:
    for name, array in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        yield helper.make_tensor_value_info(name, kind, array.shape)


def stored_tensor(inventory: Inventory, name: str) -> StoredTensor:
    """Where a tensor of the model lies; ``KeyError`` if there is no such float32."""
    tensor = inventory.tensors[name]
    if tensor.file is None or tensor.dtype != "float32":
        raise KeyError(name)
    return tensor


def stored_array(folder: Path, inventory: Inventory, name: str) -> Any:
    """A tensor of the model, mapped from its file; ``KeyError`` if there is no such float32."""
    tensor = stored_tensor(inventory, name)
    assert tensor.file is not None  # noqa: S101  stored_tensor() says so
    return np.memmap(folder / tensor.file, np.float32, "r", tensor.offset, tensor.shape)
