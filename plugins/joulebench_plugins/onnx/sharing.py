"""Lets a traced graph write its keys and values into the buffer that they are read from."""

from __future__ import annotations

from typing import Any, Final

from joulebench_plugins.onnx.ports import state_key

#: The input that says how many positions stand in the buffers, which are longer.
PAST_LENGTH: Final = "past_sequence_length"
#: The axis of the positions in (batch, heads, positions, head size).
_POSITIONS: Final = 2


def share_caches(program: Any) -> bool:
    """Make an ``onnx_ir`` model take the number of past positions as an input, if it can.

    It can where keys and values are read by GroupQueryAttention alone, and else only asked for their
    length: a graph that does not look at the length of its buffers may be given longer ones. Returns
    whether anything was changed.
    """
    import onnx_ir

    graph = program.graph
    lengths: list[Any] = []
    for value in graph.inputs:
        if state_key(value.name) is None:
            continue
        for node, place in value.uses():
            if node.op_type == "GroupQueryAttention" and place in (3, 4):
                continue
            if not _is_length(node):
                return False
            lengths.append(node)
    if not lengths:
        return False
    past = onnx_ir.Value(name=PAST_LENGTH, type=onnx_ir.TensorType(onnx_ir.DataType.INT64), shape=onnx_ir.Shape([1]))
    graph.inputs.append(past)
    for node in lengths:
        node.outputs[0].replace_all_uses_with(past)
        graph.remove(node, safe=True)
    return True


def _is_length(node: Any) -> bool:
    """Whether a node gives the number of positions of its input, as one number in a row."""
    if node.op_type != "Shape":
        return False
    start = node.attributes.get_int("start", 0)
    return bool(start == _POSITIONS and node.attributes.get_int("end", -1) == _POSITIONS + 1)
