"""Puts right what transformers' fusions leave in a graph that onnxruntime refuses."""

from __future__ import annotations

from typing import Any


def repair_products(program: Any) -> int:
    """Write products with a transposed matrix as Gemm; returns how many there were.

    The exporter fuses a transposed weight (a tied head) into FusedMatMul, which takes a transposed operand only of
    the other's rank.
    """
    import onnx_ir

    graph = program.graph
    count = 0
    for node in list(graph):
        if node.op_type != "FusedMatMul" or not node.attributes.get_int("transB", 0):
            continue
        state, matrix = node.inputs[0], node.inputs[1]
        shape = None if matrix is None else matrix.shape
        if state is None or shape is None or len(shape) != 2 or node.attributes.get_int("transA", 0):
            continue
        height, width = (int(size) for size in shape)
        tape = onnx_ir.tape.Tape(graph)
        flat = tape.op("Reshape", [state, _numbers(tape, f"{node.name}/flat", [-1, width])])
        alpha = node.attributes.get_float("alpha", 1.0)
        product = tape.op("Gemm", [flat, matrix], attributes={"transB": 1, "alpha": alpha})
        output = tape.op("Reshape", [product, _numbers(tape, f"{node.name}/rows", [1, -1, height])])
        graph.insert_before(node, tape.nodes)
        _take_place(node.outputs[0], output)
        graph.remove(node, safe=True)
        count += 1
    return count


def _numbers(tape: Any, name: str, values: list[int]) -> Any:
    import numpy as np
    import onnx_ir

    return tape.initializer(onnx_ir.tensor(np.array(values, np.int64), name=name), name=name)


def _take_place(old: Any, new: Any) -> None:
    """Let every use of a value, also as an output of the graph, be of another, which gets its name."""
    name = old.name
    new.type, new.shape = old.type, old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = f"{name}/fused", name
