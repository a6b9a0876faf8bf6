"""OpenVINO without the reports of use that it would send to its makers when it is imported."""

from __future__ import annotations

import importlib
import sys
from typing import Any

# The library has a stub for the package being missing. This must stand before the first import.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

openvino: Any = importlib.import_module("openvino")
opset14: Any = importlib.import_module("openvino.opset14")
