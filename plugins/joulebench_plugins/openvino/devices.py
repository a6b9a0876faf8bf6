"""Devices that OpenVINO finds here, asked of the library in another process."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from joulebench.api import Device
from joulebench.backendkit import asked_elsewhere, cpu_device

_PROBE: Final = (
    "import json; from joulebench_plugins.openvino.library import openvino; core = openvino.Core(); "
    "print(json.dumps({name: str(core.get_property(name, 'FULL_DEVICE_NAME')) for name in core.available_devices}))"
)
#: Where the kernel shows a GPU or an NPU: without these, the library could find no other device than the CPU.
_ACCELERATORS: Final = ("dri/renderD*", "accel/accel*")


def library_devices(folder: Path = Path("/dev")) -> tuple[Device, ...]:
    """The CPU, and what else the library finds, by the library's own names in lower case."""
    if not any(path for pattern in _ACCELERATORS for path in folder.glob(pattern)):
        return (cpu_device(),)
    others = [Device(name.lower(), text) for name, text in _asked().items() if name != "CPU"]
    return (cpu_device(), *others)


@functools.cache
def _asked() -> dict[str, str]:
    answer = asked_elsewhere(_PROBE)
    return answer if isinstance(answer, dict) else {}
