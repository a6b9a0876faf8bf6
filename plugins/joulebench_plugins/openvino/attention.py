"""Puts an exported graph's attention into the form that the CPU's plugin fuses with its KV cache."""

from __future__ import annotations

from typing import Any, Final

from joulebench_plugins.openvino.library import opset14

_ATTENTION: Final = "ScaledDotProductAttention"
#: Inputs of an attention that come from the cache.
_KEYS_AND_VALUES: Final = (1, 2)


def make_fusible(model: Any) -> int:
    """Rewrite how keys and values are repeated for grouped heads; how many were.

    The exporter of transformers writes ``Broadcast`` to a shape that is chosen axis by axis. OpenVINO
    (2026.4) looks for one to the shape itself, in its bidirectional form, between the cache and the
    attention: otherwise each attention runs as products and a softmax, on keys and values that are copied,
    and no type of the cache is applied.
    """
    rewritten = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != _ATTENTION:
            continue
        for place in _KEYS_AND_VALUES:
            reshape = node.input_value(place).get_node()
            broadcast = reshape.input_value(0).get_node() if reshape.get_type_name() == "Reshape" else None
            target = None if broadcast is None else _target(broadcast)
            if broadcast is not None and target is not None:
                plain = opset14.broadcast(broadcast.input_value(0), target, broadcast_spec="BIDIRECTIONAL")
                broadcast.output(0).replace(plain.output(0))
                rewritten += 1
    if rewritten:
        model.validate_nodes_and_infer_types()
    return rewritten


def _target(broadcast: Any) -> Any | None:
    """The shape that a chosen one was made of: the value that replaces axes of the length 1."""
    if broadcast.get_type_name() != "Broadcast" or broadcast.get_attributes().get("mode") != "numpy":
        return None
    chosen = broadcast.input_value(1).get_node()
    if chosen.get_type_name() != "Select" or chosen.input_value(0).get_node().get_type_name() != "Equal":
        return None
    return chosen.input_value(1)
