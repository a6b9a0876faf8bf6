"""The converter ``ort-format``: from ONNX to the format of onnxruntime's mobile builds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, ModelFile, Settings, distribution_versions, require_modules
from joulebench.errors import ArtifactError

ORT_FILE: Final = "model.ort"
#: For ``build.sh --include_ops_by_config`` of a custom onnxruntime.
OPERATORS_FILE: Final = "required_operators_and_types.config"
#: Of a flatbuffer, whose offsets are signed 32-bit numbers (https://flatbuffers.dev/internals/).
MAX_ORT_BYTES: Final = 2**31 - 1
#: The level a phone's model is optimised at: "all" adds layouts of the CPU that converts it.
LEVEL: Final = "extended"
#: Why a pair of graphs is refused.
_PAIR: Final = "is of two graphs, and a model in ORT format is of one"
_LEVEL_VARIABLE: Final = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"


class OrtFormat(Converter):
    """Optimises an ONNX model once and stores it as a flatbuffer, as a phone's runtime loads it.

    Beside ``model.ort`` lies ``required_operators_and_types.config``: the operators and number
    types that this model needs, to build an onnxruntime that has no others.
    """

    name = "ort-format"
    summary = "ONNX to ORT format, with the operators that a reduced mobile build needs"
    source = "onnx"
    target = "ort"

    def available(self) -> Availability:
        """Needs onnxruntime with its conversion tools, and the onnx package that they import."""
        return require_modules(("onnxruntime", "onnx", "numpy"), "onnx")

    def versions(self) -> Mapping[str, str]:
        """The runtime that optimises the graph."""
        return distribution_versions(("onnxruntime",))

    def describe(self, source: Path) -> ModelFile:
        """Read from the graphs' headers, in another process."""
        from joulebench_plugins.onnx.describing import describe_model

        return describe_model(source)

    def check(self, source: Path) -> str | None:
        """Models of two graphs, of which one file cannot be made, and graphs that are no decoder."""
        from joulebench_plugins.onnx.decoderfiles import find_decoder
        from joulebench_plugins.onnx.describing import file_fault

        if find_decoder(source).prompt is not None:
            return _PAIR
        return file_fault(source)

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``model.ort`` and the list of operators into ``output``.

        Raises :class:`ArtifactError` for a model that is too large for the format or that
        onnxruntime refuses.
        """
        from joulebench_plugins.onnx.decoderfiles import find_decoder
        from joulebench_plugins.onnx.graphfacts import graph_facts, weight_files

        files = find_decoder(source)
        if files.prompt is not None:
            raise ArtifactError(_PAIR, where=str(source), hint="run the model by the backend 'onnx'")
        facts = graph_facts(files)
        weights = () if facts is None else weight_files(files, facts)
        size = sum(file.stat().st_size for file in (files.graph, *weights))
        if size > MAX_ORT_BYTES:
            raise ArtifactError(
                f"{size:,} bytes do not fit into ORT format, which holds {MAX_ORT_BYTES:,}",
                where=str(source),
                hint="run the model by the backend 'onnx', or a smaller or quantized one here",
            )
        # Read when the module is called; this process converts and does nothing else.
        os.environ[_LEVEL_VARIABLE] = LEVEL
        from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

        try:
            convert_onnx_models_to_ort(files.graph, output, [OptimizationStyle.Fixed], enable_type_reduction=True)
        except Exception as error:  # onnxruntime's own errors have no common class
            raise ArtifactError(f"onnxruntime cannot convert it: {error}", where=str(source)) from (error)
        _rename_only(output, "*.ort", ORT_FILE)
        _rename_only(output, "*.config", OPERATORS_FILE)
        _forget_folder(output / OPERATORS_FILE, output)


def _forget_folder(file: Path, folder: Path) -> None:
    """Take out where the model lay when the list was made: equal models have equal lists."""
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(f"{folder}/", ""), encoding="utf-8")


def _rename_only(folder: Path, pattern: str, name: str) -> None:
    """Give the one file of a pattern its name, which in the tool's hands depends on settings."""
    files = list(folder.glob(pattern))
    if len(files) != 1:
        raise ArtifactError(f"onnxruntime wrote {len(files)} files {pattern}, not one", where=str(folder))
    files[0].rename(folder / name)
