"""An ONNX graph that is written node by node, its weights into one file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

MODEL_FILE: Final = "model.onnx"
DATA_FILE: Final = "model.onnx.data"
#: Written for runtimes of the last years, not for the newest alone (ONNX 1.16 on).
IR_VERSION: Final = 10
OPSET: Final = 21
#: onnxruntime's own operators (docs/ContribOperators.md in its repository).
CONTRIB: Final = "com.microsoft"
#: Weights begin at pages, so that a runtime can map them (ONNX, "External Data").
_ALIGNMENT: Final = 4096


class GraphFile:
    """Collects nodes; weights go to the data file as they come, so memory holds one at a time.

    A context manager, in ``folder``; :meth:`save` ends it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = (folder / DATA_FILE).open("wb")
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._opsets = {"": OPSET, CONTRIB: 1}
        self._ir_version = IR_VERSION

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()

    def weight(self, name: str, values: Any) -> str:
        """Store an array in the data file; returns its name in the graph."""
        import numpy as np
        from onnx import StringStringEntryProto, TensorProto, helper

        self._data.write(b"\0" * (-self._data.tell() % _ALIGNMENT))
        place = {"location": DATA_FILE, "offset": str(self._data.tell()), "length": str(values.nbytes)}
        self._initializers.append(
            TensorProto(
                name=name,
                dims=values.shape,
                data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
                data_location=TensorProto.EXTERNAL,
                external_data=[StringStringEntryProto(key=key, value=value) for key, value in place.items()],
            )
        )
        self._data.write(memoryview(np.ascontiguousarray(values)).cast("B"))
        return name

    def constant(self, name: str, values: Any) -> str:
        """Store a small array in the graph itself, where shape inference can read it."""
        from onnx import numpy_helper

        self._initializers.append(numpy_helper.from_array(values, name))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: str | Sequence[str],
        *,
        domain: str = "",
        **attributes: object,
    ) -> str:
        """Add an operator, named after its first output; returns that."""
        from onnx import helper

        names = [outputs] if isinstance(outputs, str) else list(outputs)
        self._nodes.append(
            helper.make_node(operator, list(inputs), names, name=f"{names[0]}/{operator}", domain=domain, **attributes)
        )
        return names[0]

    def take(self, node: Any) -> None:
        """Add an operator as another graph has it; its weights are stored apart."""
        self._nodes.append(node)

    def take_constant(self, initializer: Any) -> None:
        """Add a small array as another graph has it, in the graph itself."""
        self._initializers.append(initializer)

    def take_interface(self, model: Any) -> None:
        """Declare the inputs and outputs that another model has, and use its versions of operators."""
        self._inputs.extend(model.graph.input)
        self._outputs.extend(model.graph.output)
        self._opsets |= {opset.domain: opset.version for opset in model.opset_import}
        self._ir_version = model.ir_version

    def input(self, name: str, dtype: type, shape: Sequence[int | str]) -> str:
        """Declare an input of a numpy type; a string in ``shape`` names a free extent."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: type, shape: Sequence[int | str]) -> None:
        """Declare that a node's output leaves the graph."""
        self._outputs.append(_value_info(name, dtype, shape))

    def save(self, name: str, metadata: Mapping[str, str]) -> None:
        """Write the model file; equal graphs give equal bytes."""
        from onnx import helper

        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        model = helper.make_model(
            graph,
            producer_name="joulebench",
            ir_version=self._ir_version,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in self._opsets.items()],
        )
        helper.set_model_props(model, dict(metadata))
        (self._folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))


def _value_info(name: str, dtype: type, shape: Sequence[int | str]) -> Any:
    import numpy as np
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))
