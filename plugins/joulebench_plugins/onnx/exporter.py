"""The converter ``onnx-export``: from a checkpoint folder to an ONNX model for onnxruntime."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, Option, Settings, distribution_versions, require_modules
from joulebench.checkpoint import read_json
from joulebench.errors import ArtifactError
from joulebench_plugins.onnx.shape import LLAMA_GRAPH, graph_shape, unfit_reason
from joulebench_plugins.shared.llama.configuration import UnfitModelError
from joulebench_plugins.shared.llama.shape import ARCHITECTURES
from joulebench_plugins.shared.tensors.integers import PACK_CHOICES

PACK: Final = Option(
    "pack",
    "str",
    "auto",
    "a quantized checkpoint's integers: as MatMulNBits of the very same integers (auto), or dense in float32",
    choices=PACK_CHOICES,
)
ACTIVATIONS: Final = Option(
    "activations",
    "str",
    "float32",
    "what packed integers are multiplied in: float32, or int8, which rounds activations as well",
    choices=("float32", "int8"),
)


GRAPH: Final = Option(
    "graph",
    "str",
    "auto",
    "how the graph is made: operator by operator (llama types only), traced by transformers, or the first that can",
    choices=("auto", "written", "traced"),
)
#: What tracing needs beside the package ``onnx``.
_TRACERS: Final = ("torch", "transformers.exporters", "onnxscript", "onnxruntime")
#: How ``config.json`` names classes that write text one token after another.
_CAUSAL_ENDINGS: Final = ("ForCausalLM", "LMHeadModel")


class OnnxExport(Converter):
    """Makes an ONNX model with its cache as inputs and outputs, in float32.

    The graph of a llama-type model is written operator by operator, without torch; the same checkpoint gives
    the same bytes, and a quantized one's integers are taken as they are. That of any other causal model is
    traced by transformers' exporters.
    """

    name = "onnx-export"
    summary = "checkpoint to ONNX with a KV cache, float32; of llama types also packed integers"
    source = "hf"
    target = "onnx"
    options = (PACK, ACTIVATIONS, GRAPH)

    def available(self) -> Availability:
        """Needs the ``onnx`` package and numpy; what tracing needs is asked for models that are traced."""
        return require_modules(("onnx", "numpy"), "onnx")

    def versions(self) -> Mapping[str, str]:
        """Versions of what makes the model; the written graph has one of its own, for what the cache keeps."""
        libraries = distribution_versions(("onnx", "numpy", "torch", "transformers", "onnxscript"))
        return {**libraries, "llama graph": LLAMA_GRAPH}

    def supports(self, architecture: str | None) -> str | None:
        """Causal language models; an unknown architecture is checked when the model is read."""
        if architecture is None or architecture in ARCHITECTURES:
            return None
        if not architecture.endswith(_CAUSAL_ENDINGS):
            return f"exports causal language models, not '{architecture}'"
        return tracing_fault()

    def check(self, source: Path) -> str | None:
        """A llama whose graph is not known by heart is traced, if what that needs is here."""
        if not (source / "config.json").is_file() or unfit_reason(read_json(source / "config.json")) is None:
            return None
        return tracing_fault()

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``model.onnx`` and its weights into ``output``.

        Raises :class:`ModelError` for a damaged checkpoint and :class:`ArtifactError` for a model
        whose graph is not known.
        """
        way = str(settings.get("graph", "auto"))
        if way == "traced":
            _trace(source, output)
            return
        from joulebench_plugins.shared.tensors.arrays import Checkpoint

        checkpoint = Checkpoint(source)
        try:
            shape = graph_shape(checkpoint.config)
        except UnfitModelError as error:
            if way == "auto":
                _trace(source, output)
                return
            raise ArtifactError(
                str(error), where=str(source / "config.json"), hint="set graph = 'auto', which traces such a model"
            ) from None
        from joulebench_plugins.onnx.graphfile import GraphFile
        from joulebench_plugins.onnx.llamagraph import write_llama
        from joulebench_plugins.onnx.nbits import Packing

        packing = None
        if settings.get("pack") != "dense":
            packing = Packing.beside(source, str(settings.get("activations", "float32")))
        with GraphFile(output) as graph:
            write_llama(graph, checkpoint, shape, packing)


def tracing_fault() -> str | None:
    """Why no model can be traced here, with the cure, or ``None``."""
    missing = [name for name in _TRACERS if not _is_here(name)]
    if not missing:
        return None
    return f"tracing needs {', '.join(missing)} (pip install 'joulebench[onnx-export]')"


def _is_here(module: str) -> bool:
    """Whether a module or a package's part is installed, without importing it."""
    package, dot, part = module.partition(".")
    spec = importlib.util.find_spec(package)
    if spec is None or not dot:
        return spec is not None
    return any((Path(place) / part).is_dir() for place in spec.submodule_search_locations or ())


def _trace(source: Path, output: Path) -> None:
    if (fault := tracing_fault()) is not None:
        raise ArtifactError(fault, where=str(source))
    from joulebench_plugins.onnx.tracing import trace

    trace(source, output)
