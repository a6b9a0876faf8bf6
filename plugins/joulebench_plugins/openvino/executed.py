"""What the compiled model says of itself: operators that run, and the types that they compute in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from joulebench.api import Scalar
from joulebench.weightkit import joined, tally
from joulebench_plugins.openvino.numbertypes import PACKED, word

#: Operators for products with stored matrices.
_PRODUCTS: Final = frozenset({"FullyConnected", "LLMMLP", "QKVProjection"})
#: An operator that attends to the KV cache that it holds; without it, products and a softmax do.
_FUSED: Final = "ScaledDotProductAttention"
#: No work of the model's own.
_PASSIVE: Final = frozenset({"Const", "Input", "Output"})


@dataclass(frozen=True, slots=True)
class ExecutedNode:
    """An operator of the executed graph: its kind, the type that it computes in, its kernel."""

    operator: str
    precision: str
    primitive: str


@dataclass(frozen=True, slots=True)
class ExecutedGraph:
    """The operators that run, as the device's plugin tells them."""

    nodes: tuple[ExecutedNode, ...]

    @classmethod
    def of(cls, compiled: Any) -> ExecutedGraph:
        """The graph of a compiled model."""
        return cls(tuple(_nodes(compiled.get_runtime_model().get_ops())))

    @property
    def weight_types(self) -> str:
        """Types of the stored matrices that are multiplied with; empty where the device does not say."""
        return joined(word(node.precision) for node in self._products())

    def computed_in(self, activation_group: int) -> str:
        """Types that these products are computed in; empty where the device does not say.

        Packed matrices are unpacked to the type that the kernel's name ends with, unless activations are
        rounded by groups as well.
        """
        return joined(
            "int8" if activation_group and word(node.precision) in PACKED else word(node.primitive.rpartition("_")[2])
            for node in self._products()
        )

    @property
    def fused_attention(self) -> int:
        """How many operators attend to a KV cache of their own."""
        return sum(node.operator == _FUSED for node in self.nodes)

    def facts(self) -> dict[str, Scalar]:
        """Kernels, attention and operators."""
        fused = self.fused_attention
        return {
            "weights_kernel": joined(node.primitive for node in self._products()) or None,
            "attention": f"fused with the KV cache {fused}" if fused else "products and softmax",
            "operators": tally(node.operator for node in self.nodes if node.operator not in _PASSIVE),
        }

    def _products(self) -> Iterator[ExecutedNode]:
        return (node for node in self.nodes if node.operator in _PRODUCTS)


def _nodes(operators: Iterable[Any]) -> Iterator[ExecutedNode]:
    for operator in operators:
        info = operator.get_rt_info()
        yield ExecutedNode(*(_text(info, key) for key in ("layerType", "runtimePrecision", "primitiveType")))


def _text(info: Any, key: str) -> str:
    if key not in info:
        return ""
    value = info[key]
    return str(value.astype(str) if hasattr(value, "astype") else value)


def model_property(compiled: Any, key: str) -> str | None:
    """A property of a compiled model, as text; ``None`` on a device that has no such."""
    try:
        value = compiled.get_property(key)
    except RuntimeError:
        return None
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value.get_type_name()) if hasattr(value, "get_type_name") else str(value)


def property_facts(compiled: Any) -> dict[str, Scalar]:
    """Device, threads and hints as the compiled model has them."""
    facts: dict[str, Scalar] = {}
    for name, key in (
        ("device", "EXECUTION_DEVICES"),
        ("threads", "INFERENCE_NUM_THREADS"),
        ("streams", "NUM_STREAMS"),
        ("performance_hint", "PERFORMANCE_HINT"),
        ("precision_hint", "INFERENCE_PRECISION_HINT"),
        ("activation_group", "DYNAMIC_QUANTIZATION_GROUP_SIZE"),
    ):
        value = model_property(compiled, key)
        facts[name] = int(value) if value is not None and value.isdigit() else value
    return facts
