"""Graphs of users' own for the tests: a toy that counts what it has read, and a llama in another's layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, WIDTH = 23, 4
_TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}
_RANDOM = np.random.default_rng(5)
TABLE = _RANDOM.standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
HEAD = _RANDOM.standard_normal((WIDTH, VOCABULARY)).astype(np.float32)


def toy_logits(tokens: Sequence[int]) -> Any:
    """What the toy says after each token: the head on the sum of all rows so far and half of the row before."""
    rows = TABLE[list(tokens)]
    before = np.concatenate([np.zeros((1, WIDTH), np.float32), rows[:-1]])
    return (np.cumsum(rows, axis=0) + before / 2) @ HEAD


def toy_tokens(prompt: Sequence[int], count: int) -> list[int]:
    """The toy's greedy answer."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(toy_logits(tokens)[-1].argmax()))
    return tokens[len(prompt) :]


def write_toy(
    file: Path,
    *,
    past: str | None = "past_key_values.0.key",
    present: str = "present.0.key",
    memory: tuple[str, str] = ("past_conv.0", "present_conv.0"),
    tokens: int | str = "sequence_length",
    logits: str = "all",
    dtype: type = np.float32,
    extra: Sequence[str] = (),
    external: str | None = None,
    right_at: int | None = None,
) -> Path:
    """A graph with a state that grows and one of a fixed size; without ``past`` it begins from nothing.

    ``logits``: ``all`` positions, the ``last`` one, or as many as ``num_logits_to_keep`` says (``kept``).
    With ``right_at`` it says something else at any other number of positions.
    """
    kind = _TYPES[dtype]  # type: ignore[index]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),  # (1, n, width)
        helper.make_node("Unsqueeze", ["rows", "one"], ["new"]),  # (1, 1, n, width)
        helper.make_node("Shape", ["input_ids"], ["count"], start=1, end=2),
        helper.make_node("Neg", ["count"], ["minus_count"]),
    ]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, tokens])]
    if past is None:
        nodes += [
            helper.make_node("Identity", ["new"], [present]),
            helper.make_node("Mul", ["first_row", "nought"], ["before_row"]),
            helper.make_node("Slice", ["rows", "nought_index", "one", "one"], ["first_row"]),
        ]
        nodes = [*nodes[:-2], nodes[-1], nodes[-2]]
    else:
        inputs += [
            helper.make_tensor_value_info(past, kind, ["batch_size", 1, "past_sequence_length", WIDTH]),
            helper.make_tensor_value_info(memory[0], kind, ["batch_size", 1, WIDTH]),
        ]
        nodes += [
            helper.make_node("Concat", [past, "new"], [present], axis=2),
            helper.make_node("Identity", [memory[0]], ["before_row"]),
        ]
    nodes += [
        helper.make_node("CumSum", [present, "two"], ["sums"]),
        helper.make_node("Slice", ["sums", "minus_count", "large", "two_index"], ["own_sums"]),
        helper.make_node("Squeeze", ["own_sums", "one"], ["state"]),
        helper.make_node("Concat", ["before_row", "rows"], ["shifted"], axis=1),
        helper.make_node("Slice", ["shifted", "nought_index", "minus_one", "one"], ["before"]),
        helper.make_node("Slice", ["rows", "minus_one", "large", "one"], [memory[1]]),
        helper.make_node("Mul", ["before", "half"], ["halves"]),
        helper.make_node("Add", ["state", "halves"], ["hidden"]),
    ]
    hidden = "hidden"
    if right_at is not None:
        nodes += [
            helper.make_node("Shape", [present], ["positions"], start=2, end=3),
            helper.make_node("Equal", ["positions", "traced"], ["is_traced"]),
            helper.make_node("Not", ["is_traced"], ["is_other"]),
            helper.make_node("Cast", ["is_other"], ["other"], to=kind),
            helper.make_node("Mul", ["other", "error"], ["own_error"]),
            helper.make_node("Add", ["hidden", "own_error"], ["wrong"]),
        ]
        hidden = "wrong"
    if logits != "all":
        start = "minus_one"
        if logits == "kept":
            inputs.append(helper.make_tensor_value_info("num_logits_to_keep", TensorProto.INT64, []))
            nodes += [
                helper.make_node("Unsqueeze", ["num_logits_to_keep", "nought_index"], ["kept_row"]),
                helper.make_node("Neg", ["kept_row"], ["minus_kept"]),
            ]
            start = "minus_kept"
        nodes.append(helper.make_node("Slice", [hidden, start, "large", "one"], ["kept"]))
        hidden = "kept"
    nodes.append(helper.make_node("MatMul", [hidden, "head"], ["logits"]))
    for name in extra:
        shape = {"attention_mask": [1, "total"], "use_cache_branch": [1]}.get(name, [1, tokens])
        inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape))
    constants = {"one": [1], "minus_one": [-1], "nought_index": [0], "two_index": [2], "large": [2**60]}
    stored = [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()]
    stored.append(numpy_helper.from_array(np.array(2, np.int64), "two"))
    stored += [
        numpy_helper.from_array(np.array(number, dtype), name) for name, number in (("half", 0.5), ("nought", 0.0))
    ]
    if right_at is not None:
        stored.append(numpy_helper.from_array(np.array([right_at], np.int64), "traced"))
        stored.append(numpy_helper.from_array(np.full(WIDTH, 3, dtype), "error"))
    weights = {"table": TABLE.astype(dtype), "head": HEAD.astype(dtype)}
    stored += [numpy_helper.from_array(values, name) for name, values in weights.items()]
    rows = 1 if logits == "last" else "kept"
    outputs = [
        helper.make_tensor_value_info("logits", kind, [1, rows, VOCABULARY]),
        helper.make_tensor_value_info(present, kind, ["batch_size", 1, "total_sequence_length", WIDTH]),
        helper.make_tensor_value_info(memory[1], kind, ["batch_size", 1, WIDTH]),
    ]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, stored)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    file.parent.mkdir(parents=True, exist_ok=True)
    if external is None:
        file.write_bytes(model.SerializeToString())
    else:
        onnx.save_model(
            model, str(file), save_as_external_data=True, location=external, size_threshold=64, convert_attribute=False
        )
    return file


def genai_like(source: Path, folder: Path) -> Path:
    """The llama of ``onnx-export`` in the layout of onnxruntime-genai's builder: a mask, logits of all positions."""
    folder.mkdir(parents=True)
    model = onnx.load(str(source / "model.onnx"))
    graph = model.graph
    inputs = [
        value for value in graph.input if value.name not in ("logit_positions", "seqlens_k", "total_sequence_length")
    ]
    inputs.append(
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"])
    )
    before = [
        helper.make_node("ReduceSum", ["attention_mask", "axis_1"], ["valid"], keepdims=0),
        helper.make_node("Sub", ["valid", "axis_1"], ["last"]),
        helper.make_node("Cast", ["last"], ["seqlens_k"], to=TensorProto.INT32),
        helper.make_node("Shape", ["attention_mask"], ["width"], start=1, end=2),
        helper.make_node("Squeeze", ["width"], ["total"]),
        helper.make_node("Cast", ["total"], ["total_sequence_length"], to=TensorProto.INT32),
    ]
    rows = next(node for node in graph.node if node.output[0] == "model.rows")
    nodes = [node for node in graph.node if node.output[0] not in ("model.rows", "model.kept")]
    head = next(node for node in nodes if node.output[0] == "logits")
    place = nodes.index(head)
    nodes[place] = helper.make_node("MatMul", [head.input[0], "head_matrix"], ["logits"])
    nodes.insert(place, helper.make_node("Transpose", [head.input[1]], ["head_matrix"], perm=[1, 0]))
    for node in nodes:
        for index, name in enumerate(node.input):
            if name == "model.kept":
                node.input[index] = rows.input[0]
    vocabulary = next(value for value in graph.output if value.name == "logits").type.tensor_type.shape.dim[1].dim_value
    outputs = [value for value in graph.output if value.name != "logits"]
    outputs.append(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", vocabulary])
    )
    stored = [*graph.initializer, numpy_helper.from_array(np.array([1], np.int64), "axis_1")]
    whole = helper.make_graph([*before, *nodes], "llama", inputs, outputs, stored)
    made = helper.make_model(whole, ir_version=10, opset_imports=list(model.opset_import))
    onnx.save_model(made, str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    description = {"model": {"type": "llama", "context_length": 96, "decoder": {"filename": "model.onnx"}}}
    (folder / "genai_config.json").write_text(json.dumps(description), "utf-8")
    return folder
