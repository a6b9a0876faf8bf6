"""What a model file holds: its stored tensors and the nodes that use them.

Run as ``python -m joulebench_plugins.onnx.inventory FILE`` by :func:`take_inventory`: reading a model by
the ``onnx`` package in the worker would add to the memory that is measured there.
"""

from __future__ import annotations

import json
import math
import mmap
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ModelError

#: Operators whose second input is a matrix that every element of is multiplied and added.
PRODUCTS: Final = frozenset(
    {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)
#: Those of them that multiply whole numbers of 8 bits (onnxruntime, docs/ContribOperators.md).
INT8_PRODUCTS: Final = frozenset({"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})
#: A product with a matrix of few bits, and the look-up in such a table; both state their bits.
N_BITS_PRODUCT: Final = "MatMulNBits"
N_BITS_LOOKUP: Final = "GatherBlockQuantized"
#: What chooses the experts of a token, whose weights alone it reads.
ROUTERS: Final = frozenset({"TopK", "MoE", "QMoE"})
#: Inputs of GroupQueryAttention that it looks one row up in: cosines and sines.
_ROTATION_INPUTS: Final = (7, 8)
#: A tensor of less than this part of all bytes does not matter, however it is read.
_UNCOUNTED_SHARE: Final = 200


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A stored tensor: numpy's name of its type, its size, and where its numbers begin.

    ``file`` lies in the model file's folder; ``None`` for what stands inside of another structure.
    """

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    file: str | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """An operator: names of its inputs and outputs (empty where left out), integer attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: Mapping[str, int]
    #: Whether it stands in a branch, a loop or a function, so that one run may do it not at all or many times.
    inner: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """Tensors by name, and nodes in the file's order."""

    tensors: Mapping[str, StoredTensor]
    nodes: tuple[Node, ...]

    @property
    def weights_bytes(self) -> int:
        """Bytes of all stored tensors, tables of the rotation included."""
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    def uncounted(self) -> str | None:
        """Why traffic and operations of a token are not known from the file, or ``None``."""
        if any(node.inner for node in self.nodes):
            return "the graph has branches, loops or functions"
        if routers := sorted({node.operator for node in self.nodes} & ROUTERS):
            return f"experts are chosen by {', '.join(routers)}"
        least = self.weights_bytes // _UNCOUNTED_SHARE
        # One row of numbers is read whole by whatever reads it.
        large = {name for name, tensor in self.tensors.items() if tensor.size_bytes > least and len(tensor.shape) > 1}
        readers = {
            node.operator
            for node in self.nodes
            for place, name in enumerate(node.inputs)
            if name in large and not _is_counted(node, place)
        }
        return f"weights are read by {', '.join(sorted(readers))}" if readers else None

    def operations_of(self, output: str) -> int:
        """Those in the last product with a stored matrix that an output is made by, through sums and the like."""
        makers = {name: node for node in self.nodes for name in node.outputs}
        name = output
        while (node := makers.get(name)) is not None and node.inputs:
            if operations := 2 * self._matrix_elements(node):
                return operations
            name = next((source for source in node.inputs if source not in self.tensors), "")
        return 0

    def bytes_per_token(self) -> int:
        """Stored bytes that one token reads: all of a tensor, or one row where rows are looked up.

        A tensor that is read both ways counts whole, once.
        """
        reads: dict[str, int] = {}
        for node in self.nodes:
            for place, name in enumerate(node.inputs):
                tensor = self.tensors.get(name)
                if tensor is None:
                    continue
                read = tensor.size_bytes
                if _looks_up_rows(node, place) and tensor.shape and tensor.shape[0]:
                    read //= tensor.shape[0]
                reads[name] = max(reads.get(name, 0), read)
        return sum(reads.values())

    def operations_per_token(self) -> int:
        """Multiplications and additions in the products with stored matrices, for one token."""
        return sum(2 * self._matrix_elements(node) for node in self.nodes)

    def operations_after(self, name: str) -> int:
        """Those of them in nodes that depend on the input ``name``, directly or through others."""
        reached = {name}
        operations = 0
        for node in self.nodes:  # each after those it depends on
            if reached.intersection(node.inputs):
                reached.update(node.outputs)
                operations += 2 * self._matrix_elements(node)
        return operations

    def _matrix_elements(self, node: Node) -> int:
        if node.operator == N_BITS_PRODUCT:
            return node.integers["K"] * node.integers["N"]
        if node.operator in PRODUCTS and len(node.inputs) > 1:
            tensor = self.tensors.get(node.inputs[1])
            return 0 if tensor is None else math.prod(tensor.shape)
        return 0


def _is_counted(node: Node, place: int) -> bool:
    """Whether it is known how much of a tensor at this place a token reads and multiplies."""
    if node.operator in (N_BITS_PRODUCT, "Add", "Mul", "SimplifiedLayerNormalization", "LayerNormalization"):
        return True
    return node.operator in PRODUCTS or _looks_up_rows(node, place)


def _looks_up_rows(node: Node, place: int) -> bool:
    if node.operator == "GroupQueryAttention":
        return place in _ROTATION_INPUTS
    return node.operator.startswith("Gather") and place != 1  # 1 are the indices


def take_inventory(file: Path) -> Inventory:
    """Read an .onnx or .ort file in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "joulebench_plugins.onnx.inventory", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ModelError(f"its tensors cannot be listed: {tail[0]}", where=str(file))
    content = json.loads(done.stdout)
    return Inventory(
        {
            name: StoredTensor(**{**fields, "shape": tuple(fields["shape"])})
            for name, fields in content["tensors"].items()
        },
        tuple(
            Node(node["operator"], tuple(node["inputs"]), tuple(node["outputs"]), node["integers"], node["inner"])
            for node in content["nodes"]
        ),
    )


def read_inventory(file: Path) -> Inventory:
    """Read an .onnx or .ort file in this process."""
    tensors, nodes = (_read_ort if file.suffix == ".ort" else _read_onnx)(file)
    return Inventory(tensors, tuple(nodes))


def _packed_bytes(data_type: int, count: int, itemsize: int) -> int:
    """Bytes of numbers of which two share a byte in the 4-bit types (onnx.proto)."""
    from onnx import TensorProto

    if data_type in (TensorProto.INT4, TensorProto.UINT4):
        return -(-count // 2)
    return count * itemsize


def _read_onnx(file: Path) -> tuple[dict[str, StoredTensor], list[Node]]:
    import onnx
    from onnx import helper

    model = onnx.load(str(file), load_external_data=False)
    graph = model.graph
    tensors: dict[str, StoredTensor] = {}
    for initializer in graph.initializer:
        place = {entry.key: entry.value for entry in initializer.external_data}
        dtype = helper.tensor_dtype_to_np_dtype(initializer.data_type)
        size = int(place["length"]) if "length" in place else len(initializer.raw_data)
        shape = tuple(initializer.dims)
        size = size or _packed_bytes(initializer.data_type, math.prod(shape), int(dtype.itemsize))
        offset = int(place.get("offset", 0))
        tensors[initializer.name] = StoredTensor(str(dtype), shape, size, place.get("location"), offset)
    functions = [node for function in model.functions for node in _onnx_nodes(function.node, inner=True)]
    return tensors, [*functions, *_onnx_nodes(graph.node)]


def _onnx_nodes(nodes: Iterable[Any], inner: bool = False) -> Iterator[Node]:
    """Nodes with those of branches and loops before the node that holds them."""
    import onnx

    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _onnx_nodes(attribute.g.node, inner=True)
        integers = {item.name: item.i for item in node.attribute if item.type == onnx.AttributeProto.INT}
        yield Node(node.op_type, tuple(node.input), tuple(node.output), integers, inner)


def _read_ort(file: Path) -> tuple[dict[str, StoredTensor], list[Node]]:
    """By the schema that onnxruntime ships for its own tools (core/flatbuffers/schema/ort.fbs)."""
    import numpy as np
    from onnx import helper
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession

    with file.open("rb") as source:
        content = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    graph = InferenceSession.InferenceSession.GetRootAs(content, 0).Model().Graph()
    start = np.frombuffer(content, np.uint8).ctypes.data
    tensors: dict[str, StoredTensor] = {}
    for initializer in _items(graph.Initializers, graph.InitializersLength()):
        shape = tuple(int(initializer.Dims(axis)) for axis in range(initializer.DimsLength()))
        dtype = str(helper.tensor_dtype_to_np_dtype(initializer.DataType()))
        size = initializer.RawDataLength()
        offset = initializer.RawDataAsNumpy().ctypes.data - start if size else 0
        tensors[initializer.Name().decode()] = StoredTensor(dtype, shape, size, file.name, offset)
    return tensors, list(_ort_nodes(graph))


def _ort_nodes(graph: Any, inner: bool = False) -> Iterator[Node]:
    """As :func:`_onnx_nodes`, of a graph in ORT format."""
    for node in _items(graph.Nodes, graph.NodesLength()):
        attributes = list(_items(node.Attributes, node.AttributesLength()))
        for attribute in attributes:
            if (branch := attribute.G()) is not None:
                yield from _ort_nodes(branch, inner=True)
        yield Node(
            node.OpType().decode(),
            tuple(name.decode() for name in _items(node.Inputs, node.InputsLength())),
            tuple(name.decode() for name in _items(node.Outputs, node.OutputsLength())),
            {attribute.Name().decode(): attribute.I() for attribute in attributes},
            inner,
        )


def _items(get: Any, count: int) -> Iterator[Any]:
    return (get(index) for index in range(count))


def main(arguments: Iterable[str]) -> None:
    """Print the inventory of the file named by the one argument, as JSON."""
    (name,) = arguments
    inventory = read_inventory(Path(name))
    print(
        json.dumps(
            {
                "tensors": {key: asdict(tensor) for key, tensor in inventory.tensors.items()},
                "nodes": [asdict(node) for node in inventory.nodes],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
