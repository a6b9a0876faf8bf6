"""Logits of chosen positions alone: a prompt needs one row of them, not one for each of its tokens."""

from __future__ import annotations

from typing import Any, Final

from joulebench_plugins.openvino.library import openvino, opset14

#: The input that is added: which of the new tokens get logits.
LOGIT_POSITIONS: Final = "logit_positions"
#: What a graph may ask for beside that.
INPUTS: Final = frozenset({"input_ids", "attention_mask", "position_ids", "beam_idx"})
#: What a model may do with its logits one by one, as softcapping does.
_ELEMENTWISE: Final = frozenset({"Add", "Subtract", "Multiply", "Divide", "Tanh", "Convert"})
#: (sequence, token, hidden size)
_RANK: Final = 3
_TOKEN_AXIS: Final = 1


def keep_positions(model: Any) -> str | None:
    """Let the graph compute logits at ``logit_positions`` only; the name of the head's product.

    ``None`` where the head is no product with a stored matrix: the graph stays what it was, and gives
    logits for all tokens.
    """
    product = _head(logits_port(model).get_node().input_value(0).get_node())
    if product is None or product.input_value(0).get_partial_shape().rank.get_length() != _RANK:
        return None
    chosen = opset14.parameter(openvino.PartialShape([-1]), openvino.Type.i64, name=LOGIT_POSITIONS)
    chosen.output(0).get_tensor().set_names({LOGIT_POSITIONS})
    axis = opset14.constant(_TOKEN_AXIS, openvino.Type.i64)
    rows = opset14.gather(product.input_value(0), chosen, axis)
    product.input(0).replace_source_output(rows.output(0))
    model.add_parameters([chosen])
    model.validate_nodes_and_infer_types()
    return str(product.get_friendly_name())


def logits_port(model: Any) -> Any:
    """The output that is called ``logits``, or the only one."""
    named = [port for port in model.outputs if "logits" in port.get_names()]
    return named[0] if named else model.outputs[0]


def _head(node: Any) -> Any | None:
    """The product whose result the logits are, after at most some elementwise operators."""
    while node.get_type_name() in _ELEMENTWISE:
        sources = [value.get_node() for value in node.input_values()]
        changing = [source for source in sources if not is_stored(source)]
        if len(changing) != 1:
            return None
        node = changing[0]
    if node.get_type_name() != "MatMul" or not is_stored(node.input_value(1).get_node()):
        return None
    return node


def is_stored(node: Any) -> bool:
    """Whether a value is made of constants alone, such as a matrix that is unpacked."""
    if node.get_type_name() == "Constant":
        return True
    sources = [value.get_node() for value in node.input_values()]
    return bool(sources) and all(map(is_stored, sources)) and node.get_type_name() not in ("ReadValue", "Parameter")
