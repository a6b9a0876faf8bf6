"""Small graphs of one operator each, on the stored weights of a model, ready to be run."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper

from joulebench.api import Settings
from joulebench_onnx.binding import bind_input, bind_output
from joulebench_onnx.graphfile import CONTRIB, IR_VERSION, OPSET
from joulebench_onnx.inventory import Inventory
from joulebench_onnx.loading import provider_list, session_options

#: Arrays by the names that a piece's nodes give them.
Arrays = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """One operator: its nodes, and what each of its instances (one a layer) reads and writes.

    All of it is bound in place, weights too: instances differ in shape nowhere and share one
    session, hence its threads. So the runtime reads matrices as they are stored, and packs none
    beforehand.
    """

    nodes: Sequence[Any]
    given: Sequence[Arrays]
    results: Sequence[Arrays]


def running(piece: Piece, settings: Settings) -> Callable[[int], None]:
    """``run(n)``: the instances one after another in a circle, going on where it ended.

    A model's step goes from layer to layer in the same way, so no call finds its weights in a
    cache because the call before used them. The session is made by the first run.
    """

    @functools.cache
    def calls() -> itertools.cycle[Callable[[], None]]:
        session = _session(piece, settings)
        instances = zip(piece.given, piece.results, strict=True)
        return itertools.cycle([_bound(session, *each) for each in instances])

    def run(times: int) -> None:
        for call in itertools.islice(calls(), times):
            call()

    return run


def _bound(session: Any, given: Arrays, results: Arrays) -> Callable[[], None]:
    binding = session.io_binding()
    for name, array in given.items():
        bind_input(binding, name, array)
    for name, array in results.items():
        bind_output(binding, name, array)
    return functools.partial(session.run_with_iobinding, binding)


def _session(piece: Piece, settings: Settings) -> Any:
    """A session on the piece's graph, with the options of the model's own."""
    graph = helper.make_graph(
        list(piece.nodes),
        "piece",
        [_value_info(name, array) for name, array in piece.given[0].items()],
        [_value_info(name, array) for name, array in piece.results[0].items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    return onnxruntime.InferenceSession(
        model.SerializeToString(),
        # A model in ORT format was optimised before: to this level.
        session_options({"graph_optimization": "extended", **settings}),
        providers=provider_list(str(settings["provider"]), int(settings["threads"])),
    )


def _value_info(name: str, array: Any) -> Any:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
    )


def stored_array(folder: Path, inventory: Inventory, name: str) -> Any:
    """A tensor of the model, mapped from its file; ``KeyError`` if there is no such float32."""
    tensor = inventory.tensors[name]
    if tensor.file is None or tensor.dtype != "float32":
        raise KeyError(name)
    return np.memmap(folder / tensor.file, np.float32, "r", tensor.offset, tensor.shape)
