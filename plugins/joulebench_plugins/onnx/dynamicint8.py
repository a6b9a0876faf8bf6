"""Matrices in int8 with inputs that are rounded at each run, by onnxruntime's own tool."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any, Final

import onnx

from joulebench.errors import ArtifactError
from joulebench_plugins.onnx.graphfile import MODEL_FILE
from joulebench_plugins.onnx.rewriting import Copy, rewrite

_HIDDEN: Final = "Kept"


def quantize_to_int8(source: Path, output: Path, *, per_channel: bool, head: bool, reduce_range: bool) -> None:
    """Write the model in ``source`` with int8 matrices into ``output``.

    The tool makes each Gemm a MatMul: the output head multiplies a transposed table, apart from the
    embedding that it may have shared. It writes beside its source too, so that it is given a copy.
    Raises :class:`ArtifactError` where it fails.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The tool recommends a preparation that does nothing for this graph.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=output.parent) as place:
        prepared = Path(place)
        rewrite(source, prepared, _hiding if not head else _keeping)
        try:
            quantize_dynamic(
                prepared / MODEL_FILE,
                output / MODEL_FILE,
                op_types_to_quantize=["MatMul"],
                per_channel=per_channel,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
                # Shapes cannot be inferred beyond onnxruntime's own attention operator.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        except Exception as error:  # the tool's errors have no common class
            raise ArtifactError(f"onnxruntime cannot quantize it: {error}", where=str(source)) from error
    if not head:
        _reveal(output / MODEL_FILE)


def _keeping(copy: Copy, node: Any) -> bool:
    """Take every node over; tells those apart that can be quantized."""
    copy.keep(node)
    return copy.source.product(node) is not None


def _hiding(copy: Copy, node: Any) -> bool:
    """As the other, but the head under a name that the tool does not know."""
    product = copy.source.product(node)
    if product is not None and product.is_head:
        hidden = onnx.NodeProto()
        hidden.CopyFrom(node)
        hidden.op_type = _HIDDEN + node.op_type
        copy.keep(hidden)
        return True
    copy.keep(node)
    return product is not None


def _reveal(file: Path) -> None:
    model = onnx.load(str(file), load_external_data=False)
    for node in model.graph.node:
        node.op_type = node.op_type.removeprefix(_HIDDEN)
    file.write_bytes(model.SerializeToString(deterministic=True))
