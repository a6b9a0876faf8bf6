"""What the matrices of linear layers can be held as beside the checkpoint's own numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Final

from joulebench.api import Option, Settings
from joulebench_plugins.shared.decoder.roles import input_widths

#: Values of the option ``weights``; the first leaves matrices as ``dtype`` has them.
PLAIN: Final = "dtype"
INT8_DYNAMIC: Final = "int8-dynamic"
INT8: Final = "int8"
INT4: Final = "int4"
#: Those that the package torchao brings.
_BY_TORCHAO: Final = (INT8, INT4)

#: Capabilities for runtime techniques: the session takes the option ``weights`` with that value
#: (``weights.half``: ``dtype`` with a type of 16 bits), ``weights_head`` and ``weights_group``.
CAPABILITIES: Final = frozenset({"weights.half", *(f"weights.{kind}" for kind in (INT8_DYNAMIC, INT8, INT4))})
OPTIONS: Final = (
    Option(
        "weights",
        "str",
        PLAIN,
        "how matrices of linear layers are stored: as dtype says, or quantized when they are loaded",
        choices=(PLAIN, INT8_DYNAMIC, INT8, INT4),
    ),
    Option(
        "weights_head",
        "bool",
        True,
        "also quantize the output head; if it shares the embedding's matrix, it gets its own",
    ),
    Option("weights_group", "int", 32, "inputs that share a scale in int4", choices=(32, 64, 128)),
)


#: Rows of a matrix that torch's _convert_weight_to_int4pack_for_cpu packs together.
INT4_ROWS: Final = 16


def weights_fault(device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
    """Why the weights cannot be held as the settings say, or ``None``."""
    kind = str(settings.get("weights", PLAIN))
    if kind == PLAIN:
        return None
    if device != "cpu":
        return f"weights = '{kind}' is for the device cpu, not {device}"
    if settings.get("compile"):
        return f"weights = '{kind}' has not been tried with compile; set compile = false"
    if kind == INT8_DYNAMIC and settings.get("dtype", "float32") != "float32":
        return f"weights = '{kind}' needs dtype = 'float32' for what stays in floating point"
    if kind in _BY_TORCHAO and importlib.util.find_spec("torchao") is None:
        return f"weights = '{kind}' needs torchao (pip install 'joulebench[torchao]')"
    return _group_fault(kind, settings, config)


def _group_fault(kind: str, settings: Settings, config: Mapping[str, object]) -> str | None:
    group = int(settings.get("weights_group", 32))
    if kind != INT4:
        return None
    for width in sorted(input_widths(config)):
        if width % group:
            return f"weights_group = {group} does not divide matrices that are {width} wide"
    rows = config.get("vocab_size")
    if settings.get("weights_head", True) and isinstance(rows, int) and rows % INT4_ROWS:
        return f"weights = '{kind}' packs {INT4_ROWS} rows together, and the head has {rows}; set weights_head = false"
    return None
