"""Compresses the matrices of a graph by NNCF, and reads from the files what became of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import nncf
import numpy as np

from joulebench.api import Scalar
from joulebench.errors import ArtifactError
from joulebench.weightkit import relative_error, sampled, source_evidence, tally
from joulebench_plugins.openvino.graph import Inventory, take_inventory
from joulebench_plugins.openvino.irfolder import graph_file
from joulebench_plugins.openvino.library import openvino
from joulebench_plugins.openvino.positions import is_stored, keep_positions
from joulebench_plugins.openvino.saving import save_graph

_MODES: Final = {
    "int8-asym": nncf.CompressWeightsMode.INT8_ASYM,
    "int8-sym": nncf.CompressWeightsMode.INT8_SYM,
    "int4-asym": nncf.CompressWeightsMode.INT4_ASYM,
    "int4-sym": nncf.CompressWeightsMode.INT4_SYM,
}


def compress(source: Path, output: Path, *, kind: str, group: int | None, ratio: float, all_layers: bool) -> None:
    """Write the graph in ``source`` with packed matrices into ``output``.

    ``group`` is ``None`` for types of 8 bits, which have a scale for each output.
    """
    nncf.set_log_level(40)  # logging.ERROR: its warnings are about settings that were not made here
    file = graph_file(source)
    model = openvino.Core().read_model(str(file))
    grouped = {} if group is None else {"group_size": group, "ratio": ratio, "all_layers": all_layers}
    try:
        packed = nncf.compress_weights(model, mode=_MODES[kind], **grouped)
    except Exception as error:  # nncf and openvino have no common class of theirs
        raise ArtifactError(f"NNCF cannot compress it: {error}", where=str(file)) from error
    save_graph(packed, output)
    for beside in source.iterdir():
        if beside.is_file() and beside.suffix not in (".xml", ".bin"):
            shutil.copyfile(beside, output / beside.name)


def weight_evidence(before: Path, after: Path) -> dict[str, Scalar]:
    """Number types, bits and bytes; what became of embedding and head; the error of the rounding."""
    old, new = _Graph(before), _Graph(after)
    was, now = old.inventory, new.inventory
    lookup, head = now.lookup(), now.head_weight()
    return {
        "matrices": tally(weight.dtype for weight in now.products()),
        "weight_types": now.types,
        "bits_per_weight": now.bits,
        "bits_per_weight_before": was.bits,
        "weights_bytes": now.stored_bytes,
        "weights_bytes_before": was.stored_bytes,
        "embedding_type": None if lookup is None else lookup.dtype,
        "head_type": None if head is None else head.dtype,
        "relative_error": relative_error(_rows_of_both(old, new)),
        **source_evidence(((matrix.size, sampled(matrix)) for _, matrix in old.matrices()), was.parameters),
    }


class _Graph:
    """A graph's inventory, and its matrices as the numbers that are meant."""

    def __init__(self, folder: Path) -> None:
        self._core = openvino.Core()
        self._model = self._core.read_model(str(graph_file(folder)))
        # The products of the file itself: the copy whose head is found by is changed.
        copy = self._model.clone()
        self.inventory: Inventory = take_inventory(self._model, keep_positions(copy))

    def matrices(self) -> Iterator[tuple[str, Any]]:
        """(name of the product, float32 matrix of outputs × inputs) of each that is multiplied with."""
        for node in self._model.get_ordered_ops():
            if node.get_type_name() == "MatMul" and is_stored(node.input_value(1).get_node()):
                matrix = self._unpacked(node.input_value(1))
                if matrix.ndim == 2:
                    transposed = node.get_attributes()["transpose_b"]
                    yield str(node.get_friendly_name()), matrix if transposed else matrix.T

    def _unpacked(self, value: Any) -> Any:
        """A stored value as float32, by the library's own arithmetic."""
        part = openvino.Model([value], [], "stored")
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        return np.asarray(self._core.compile_model(part, "CPU", exact)([])[0], np.float32)


def _rows_of_both(old: _Graph, new: _Graph) -> Iterator[tuple[Any, Any]]:
    """Rows of each matrix before and after."""
    after = {name: sampled(matrix) for name, matrix in new.matrices()}
    for name, matrix in old.matrices():
        if name in after:
            yield sampled(matrix), after[name]
