"""Number types that a backend gives the weights when it loads them: no file is rewritten.

Each asks for a capability ``weights.…``, whatever backend has it; of those that ship, torch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from joulebench.api import (
    Availability,
    BackendSession,
    Option,
    RuntimeTechnique,
    Scalar,
    Settings,
    distribution_versions,
    require_modules,
)

#: What a session with these capabilities states among its facts.
_FACTS: Final = (
    "dtype",
    "weight_types",
    "bits_per_weight",
    "embedding_type",
    "head_type",
    "linear_modules",
    "compute",
    "weights_kernel",
    "output_type",
    "left_alone",
)
_HEAD: Final = Option(
    "head", "bool", True, "also the output head; if it shares the embedding's matrix, it gets its own"
)


class _LoadedAs(RuntimeTechnique):
    """What these techniques have in common."""

    #: The backend's option ``weights``.
    weights: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = (_HEAD,)

    def session_options(self, settings: Settings) -> Settings:
        """How the backend shall hold the weights."""
        return {"weights": self.weights, "weights_head": bool(settings["head"])}

    def evidence(self, session: BackendSession, settings: Settings) -> Mapping[str, Scalar]:
        """What the session holds after a block, and what its linear layers were seen to do."""
        facts = session.facts()
        return {"weights_bytes": session.memory().weights_bytes, **{name: facts.get(name) for name in _FACTS}}


class TorchHalf(_LoadedAs):
    """Weights, activations and KV cache in 16 bits."""

    name = "torch-half"
    summary = "bfloat16 or float16 when loaded, weights and activations"
    requires = frozenset({"weights.half"})
    options = (Option("type", "str", "bfloat16", "number type", choices=("bfloat16", "float16")),)

    def session_options(self, settings: Settings) -> Settings:
        """The number type of everything."""
        return {"dtype": str(settings["type"])}


class TorchInt8Dynamic(_LoadedAs):
    """int8 matrices with a scale for each output; inputs are rounded to 8 bits at each call.

    The products are of whole numbers: faster than float32 on a CPU, for one token and for many.
    """

    name = "torch-int8-dynamic"
    summary = "int8 matrices and inputs when loaded, whole-number products"
    weights = "int8-dynamic"
    requires = frozenset({"weights.int8-dynamic"})


class _ByTorchao(_LoadedAs):
    """Weights alone; the kernels multiply in floating point."""

    def available(self) -> Availability:
        """Needs torchao: an extra of its own, since transformers imports it wherever it is."""
        return require_modules(("torchao",), "torchao")

    def versions(self) -> Mapping[str, str]:
        """The package that rounds and brings the kernels."""
        return distribution_versions(("torchao",))


class TorchInt8WeightOnly(_ByTorchao):
    """int8 matrices with a scale for each output, multiplied in floating point."""

    name = "torch-int8-weight-only"
    summary = "int8 matrices when loaded, floating-point products (torchao)"
    weights = "int8"
    requires = frozenset({"weights.int8"})


class TorchInt4WeightOnly(_ByTorchao):
    """int4 matrices in groups along the inputs, multiplied in floating point.

    What stays in floating point is bfloat16 by default: torch's kernel for these matrices is far
    slower in float32 than plain float32 is.
    """

    name = "torch-int4-weight-only"
    summary = "int4 matrices when loaded, floating-point products (torchao)"
    weights = "int4"
    requires = frozenset({"weights.int4"})
    options = (
        _HEAD,
        Option("group", "int", 32, "inputs that share a scale", choices=(32, 64, 128)),
        Option(
            "type",
            "str",
            "bfloat16",
            "number type of everything else; in float32 the kernel is far slower than without int4",
            choices=("bfloat16", "float32"),
        ),
    )

    def session_options(self, settings: Settings) -> Settings:
        """How the backend shall hold the weights, in what groups, and the rest."""
        return {
            **super().session_options(settings),
            "weights_group": int(settings["group"]),
            "dtype": str(settings["type"]),
        }
