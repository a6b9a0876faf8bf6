"""Which binding of llama.cpp is installed and which GPUs it can use, without importing it."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.api import Availability, require_modules
from joulebench.backendkit import asked_elsewhere

#: Packages that bring the library, best first: module and distribution.
DISTRIBUTIONS: Final = {"llama_cpp": "llama-cpp-python", "llama_cpp_py_sync": "llama-cpp-py-sync"}
#: Parts of llama.cpp that compute on a GPU, as the files of the library are named.
_GPU_LIBRARIES: Final = ("cuda", "hip", "metal", "vulkan", "sycl", "musa", "cann", "opencl")
_PROBE: Final = (
    "import json; from joulebench_plugins.llamacpp.loading import load_binding; "
    "from joulebench_plugins.llamacpp.log import LibraryLog; "
    "print(json.dumps(load_binding(LibraryLog()).gpu_devices()))"
)


@dataclass(frozen=True, slots=True)
class Installed:
    """The binding that serves; ``module`` and ``folder`` are ``None`` where there is none."""

    module: str | None
    folder: Path | None
    availability: Availability


def installed_binding() -> Installed:
    """The first of the packages that is installed, found by its metadata alone."""
    numpy = require_modules(("numpy",), "llamacpp")
    for module in DISTRIBUTIONS:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            return Installed(module, Path(spec.origin).parent, numpy)
    missing = Availability.no(
        f"not installed: {' or '.join(DISTRIBUTIONS.values())}",
        "pip install 'joulebench[llamacpp]', or without a C++ compiler 'joulebench[llamacpp-prebuilt]'",
    )
    return Installed(None, None, missing)


@functools.cache
def gpu_devices() -> Mapping[str, str]:
    """Descriptions of GPUs by device name (``cuda:0``), asked of the library in another process.

    Nothing is asked where the package has no part for GPUs, as the usual build has not.
    """
    folder = installed_binding().folder
    if folder is None or not any(any(folder.rglob(f"*ggml-{kind}*")) for kind in _GPU_LIBRARIES):
        return {}
    return dict(asked_elsewhere(_PROBE) or {})
