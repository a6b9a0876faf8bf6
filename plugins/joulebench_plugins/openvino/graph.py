"""What a graph holds: its matrices, their types and bytes, and what one token reads of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from joulebench.weightkit import bits_per_weight, counted, joined, shares
from joulebench_plugins.openvino.numbertypes import word

#: Types of indices and shapes, which are no weights.
_INDICES: Final = frozenset({"i64", "i32", "boolean", "u64", "u32", "string"})
#: Inputs and outputs. What has more axes stacks matrices (experts), of which a token uses some.
_MATRIX_RANK: Final = 2


@dataclass(frozen=True, slots=True)
class Weight:
    """Constants that stand for one stored tensor: its numbers, with scales and zero points if it is packed.

    ``use`` is ``product``, ``lookup`` or ``other``; ``consumer`` the operator that uses it, which sees
    several matrices where it is ``stacked``; ``parts`` are names and bytes of the constants.
    """

    use: str
    consumer: str
    dtype: str
    shape: tuple[int, ...]
    stacked: bool
    parts: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        """The constant that holds its numbers; two uses of one tensor have the same."""
        return self.parts[0][0]

    @property
    def size_bytes(self) -> int:
        """Bytes of all its constants."""
        return sum(size for _, size in self.parts)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The weights of a graph, each use once; what its variables hold for each position.

    ``head`` names the product that gives the logits, where that is known. ``state_bytes`` is ``None``
    where a variable grows along several axes; ``recurrent`` says whether one does not grow at all.
    """

    weights: tuple[Weight, ...]
    head: str | None
    state_bytes: int | None
    recurrent: bool

    @property
    def stored_bytes(self) -> int:
        """Bytes of all constants, each once."""
        return sum(dict(part for weight in self.weights for part in weight.parts).values())

    @property
    def parameters(self) -> int:
        """Weights of all tensors, each once."""
        return sum({weight.name: weight.count for weight in self.weights}.values())

    @property
    def bits(self) -> float | None:
        """Bits of storage for each weight, scales among them."""
        return bits_per_weight(self.stored_bytes, self.parameters)

    @property
    def types(self) -> str:
        """Shares of the weights by number type."""
        kinds = {weight.name: (weight.dtype, weight.count) for weight in self.weights}
        return shares(counted(kinds.values()))

    @property
    def product_types(self) -> str:
        """Types of the matrices that are multiplied with."""
        return joined(weight.dtype for weight in self.products())

    def products(self) -> Iterator[Weight]:
        """Matrices that every element of is multiplied and added, once for each use."""
        return (weight for weight in self.weights if weight.use == "product")

    def head_weight(self) -> Weight | None:
        """The matrix of the output head."""
        return next((weight for weight in self.products() if weight.consumer == self.head), None)

    def lookup(self) -> Weight | None:
        """The largest table that rows are looked up in: the embedding."""
        tables = [weight for weight in self.weights if weight.use == "lookup"]
        return max(tables, key=lambda table: table.count, default=None)

    @property
    def has_experts(self) -> bool:
        """Whether matrices are stacked, so that what a token uses depends on the text."""
        return any(weight.stacked and weight.use != "other" for weight in self.weights)

    def bytes_per_token(self) -> int | None:
        """Stored bytes that one token reads: all of a matrix, one row of a table that is looked up in."""
        if self.has_experts:
            return None
        reads: dict[str, int] = {}
        for weight in self.weights:
            for name, size in weight.parts:
                rows = weight.shape[0] if weight.use == "lookup" and weight.shape else 1
                reads[name] = max(reads.get(name, 0), size // max(1, rows))
        return sum(reads.values())

    def operations(self) -> int | None:
        """Multiplications and additions in the products with stored matrices, for one token."""
        return None if self.has_experts else sum(2 * weight.count for weight in self.products())


def take_inventory(model: Any, head: str | None) -> Inventory:
    """List what a graph (``openvino.Model``) holds; reads no weights."""
    stored: dict[str, tuple[Any, ...]] = {}
    weights: list[Weight] = []
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), str(node.get_friendly_name())
        if kind == "Constant":
            stored[name] = (node,)
            continue
        sources = [value.get_node() for value in node.input_values()]
        names = [str(source.get_friendly_name()) for source in sources]
        if sources and kind != "ReadValue" and all(source in stored for source in names):
            stored[name] = tuple(constant for source in names for constant in stored[source])
            continue
        for place, source in enumerate(names):
            if source in stored:
                seen = node.get_input_partial_shape(place)
                weights.extend(_weight(kind, name, place, seen, stored[source]))
    return Inventory(tuple(weights), head, _state_bytes(model), _is_recurrent(model))


def _weight(kind: str, consumer: str, place: int, seen: Any, constants: Iterable[Any]) -> Iterator[Weight]:
    numbers = [constant for constant in constants if _type(constant) not in _INDICES and _count(constant) > 1]
    if not numbers:
        return
    numbers.sort(key=_count, reverse=True)
    main = numbers[0]
    use = "product" if kind == "MatMul" else "lookup" if kind == "Gather" and place == 0 else "other"
    parts = tuple((str(constant.get_friendly_name()), _bytes(constant)) for constant in numbers)
    shape = tuple(int(length) for length in main.get_output_shape(0))
    lengths = [int(dimension.get_length()) for dimension in seen] if seen.is_static else []
    stacked = math.prod(lengths[:-_MATRIX_RANK]) > 1
    yield Weight(use, consumer, word(_type(main)), shape, stacked, parts)


def _type(constant: Any) -> str:
    return str(constant.get_output_element_type(0).get_type_name())


def _count(constant: Any) -> int:
    return math.prod(constant.get_output_shape(0))


def _bytes(constant: Any) -> int:
    return -(-_count(constant) * int(constant.get_output_element_type(0).bitwidth) // 8)


def _state_bytes(model: Any) -> int | None:
    """Bytes that the variables hold for each position of one sequence, in the graph's own types."""
    total = 0
    for variable in model.get_variables():
        info = variable.get_info()
        dimensions = list(info.data_shape)[1:]  # the first is the sequence's
        fixed = [dimension.get_length() for dimension in dimensions if dimension.is_static]
        if len(dimensions) - len(fixed) > 1:
            return None
        if len(fixed) < len(dimensions):
            total += math.prod(fixed) * int(info.data_type.bitwidth) // 8
    return total


def _is_recurrent(model: Any) -> bool:
    """Whether a variable keeps its size: it holds a summary of the text, not its positions."""
    shapes = (list(variable.get_info().data_shape)[1:] for variable in model.get_variables())
    return any(shape and all(dimension.is_static for dimension in shape) for shape in shapes)
