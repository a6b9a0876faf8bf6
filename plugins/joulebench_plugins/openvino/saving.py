"""Writes a graph so that equal graphs are equal files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from joulebench_plugins.openvino.irfolder import GRAPH
from joulebench_plugins.openvino.library import openvino

#: Names that the library makes of an operator's kind and a count of all operators that its process has made.
_COUNTED: Final = re.compile(r"[A-Za-z]+_\d+")


def save_graph(model: Any, folder: Path) -> None:
    """Write the graph and its weights in their own types."""
    model.set_friendly_name("decoder")
    for place, node in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{place}")
    openvino.save_model(model, str(folder / GRAPH), compress_to_fp16=False)
