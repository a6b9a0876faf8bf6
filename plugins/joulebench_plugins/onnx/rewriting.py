"""Copies a model of onnx-export with some of its operators in another form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from joulebench.errors import ArtifactError
from joulebench_plugins.onnx.decoderfiles import find_decoder
from joulebench_plugins.onnx.graphfile import GraphFile
from joulebench_plugins.onnx.inventory import read_inventory
from joulebench_plugins.onnx.llamagraph import LOGITS

_FLOAT32: Final = "float32"


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A product with a stored float32 matrix, which is (outputs, inputs) if ``transposed``."""

    weight: str
    transposed: bool
    is_head: bool


class SourceModel:
    """A model's graph, and its tensors mapped from the file beside it."""

    def __init__(self, folder: Path) -> None:
        files = find_decoder(folder)
        if files.prompt is not None:
            raise ArtifactError(
                "is of two graphs, of which only one would be rewritten",
                where=str(folder),
                hint="take a technique that rewrites the checkpoint, before the model becomes ONNX",
            )
        self.file = files.graph
        self.proto = onnx.load(str(self.file), load_external_data=False)
        self.inventory = read_inventory(self.file)
        self._inside = {initializer.name: initializer for initializer in self.proto.graph.initializer}

    @property
    def graph(self) -> Any:
        """The graph as protobuf."""
        return self.proto.graph

    def metadata(self) -> dict[str, str]:
        """What the file says of the model beside its graph."""
        return {entry.key: entry.value for entry in self.proto.metadata_props}

    def inside(self, name: str) -> Any | None:
        """A tensor whose numbers stand in the graph itself."""
        tensor = self._inside.get(name)
        external = onnx.TensorProto.EXTERNAL
        return None if tensor is None or tensor.data_location == external else tensor

    def array(self, name: str) -> Any:
        """A tensor's numbers, mapped where they lie in a file."""
        constant = self.inside(name)
        if constant is not None:
            return onnx.numpy_helper.to_array(constant)
        tensor = self.inventory.tensors[name]
        place = self.file.parent / str(tensor.file)
        return np.memmap(place, np.dtype(tensor.dtype), "r", tensor.offset, tensor.shape)

    def product(self, node: Any) -> MatrixProduct | None:
        """The product with a float32 matrix that a node is, if it is one."""
        if node.op_type not in ("MatMul", "Gemm") or len(node.input) != 2:
            return None
        tensor = self.inventory.tensors.get(node.input[1])
        if tensor is None or tensor.dtype != _FLOAT32 or len(tensor.shape) != 2:
            return None
        flags = {attribute.name: attribute.i for attribute in node.attribute}
        transposed = node.op_type == "Gemm" and bool(flags.get("transB"))
        return MatrixProduct(node.input[1], transposed, node.output[0] == LOGITS)

    def matrix(self, product: MatrixProduct) -> Any:
        """A product's matrix as (inputs, outputs), in one piece in memory."""
        stored = self.array(product.weight)
        return np.ascontiguousarray(stored.T if product.transposed else stored)


class Copy:
    """A copy that is being written: weights come with the first node that uses them."""

    def __init__(self, source: SourceModel, graph: GraphFile) -> None:
        self.source, self.graph = source, graph
        self._written: set[str] = set()

    def keep(self, node: Any) -> None:
        """Take a node over as it is, with its weights."""
        for name in node.input:
            if name in self._written or name not in self.source.inventory.tensors:
                continue
            self._written.add(name)
            constant = self.source.inside(name)
            if constant is not None:
                self.graph.take_constant(constant)
            else:
                self.graph.weight(name, self.source.array(name))
        self.graph.take(node)


def rewrite(source: Path, output: Path, change: Callable[[Copy, Any], bool]) -> None:
    """Write the model in ``source`` into ``output``; ``change`` adds what stands for each node.

    It returns whether the node is one that is or shall be quantized. Raises :class:`ArtifactError`
    where none is.
    """
    model = SourceModel(source)
    if any(node.inner for node in model.inventory.nodes):
        raise ArtifactError(
            "has branches, loops or functions, whose weights are not rewritten",
            where=str(model.file),
            hint="name a model of one plain graph, or quantize the checkpoint before it becomes ONNX",
        )
    changed = 0
    with GraphFile(output) as graph:
        graph.take_interface(model.proto)
        copy = Copy(model, graph)
        for node in model.graph.node:
            changed += change(copy, node)
        if not changed:
            raise ArtifactError(
                "has no product with a float32 matrix that could be quantized",
                where=str(model.file),
                hint="take one technique that quantizes, not two in a chain",
            )
        graph.save(model.graph.name, model.metadata())
