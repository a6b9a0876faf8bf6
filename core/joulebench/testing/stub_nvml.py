"""A stub of NVIDIA's management library, for tests on machines without a GPU.

The real ``pynvml`` loads it in a process that is started with its folder in
``LD_LIBRARY_PATH``::

    build(folder)
    gpu = StubGpus(folder)
    gpu.set(devices=2, watts=70.0, energy_mj=5_000_000)
    gpu.fail("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED, device=1)
    subprocess.run([...], env={**os.environ, **gpu.environment()})

Keys of :meth:`StubGpus.set` (all numbers; with ``device=N`` for that GPU alone): ``devices``,
``watts``, ``energy_mj``, ``since_ns`` and ``update_ms`` (from that moment of CLOCK_MONOTONIC on,
the energy grows by ``watts`` in steps of ``update_ms``), ``celsius``, ``sm_mhz``, ``memory_mhz``,
``total_bytes``, ``reserved_bytes``, ``used_bytes``, ``gpu_percent``, ``memory_percent``,
``clock_reasons`` (a bit mask), ``mig`` (-1 cannot, 0 off, 1 on).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from joulebench.errors import UnavailableError

LIBRARY: Final = "libnvidia-ml.so.1"

#: Error numbers of nvml.h that tests ask for.
NOT_SUPPORTED: Final = 3
NO_PERMISSION: Final = 4
DRIVER_NOT_LOADED: Final = 9
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15


def build(folder: Path) -> Path:
    """Compile the stub with the system's C compiler; returns the library's path."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UnavailableError("no C compiler for the stub NVML library", hint="install gcc or clang")
    library = folder / LIBRARY
    source = Path(__file__).with_name("stub_nvml.c")
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


class StubGpus:
    """The state that the library shows; changes are seen by its next call, in any process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "nvml-state"
        self._values: dict[str, float] = {}
        self._write()

    def set(self, *, device: int | None = None, **values: float) -> None:
        """Set figures of all GPUs, or of one."""
        for key, value in values.items():
            self._values[_key(key, device)] = value
        self._write()

    def fail(self, call: str, error: int, *, device: int | None = None) -> None:
        """Let an NVML function answer with an error number; 0 lets it work again."""
        self._values[_key(f"error.{call}", device)] = error
        self._write()

    def count_from_now(self) -> None:
        """Let the energy counters grow from this moment on."""
        self.set(since_ns=time.clock_gettime_ns(time.CLOCK_MONOTONIC))

    def environment(self) -> dict[str, str]:
        """Variables for a process that is to load the stub instead of a driver's library."""
        inherited = os.environ.get("LD_LIBRARY_PATH")
        folders = [str(self._folder), *([inherited] if inherited else [])]
        return {"LD_LIBRARY_PATH": os.pathsep.join(folders), "JOULEBENCH_STUB_NVML": str(self._state)}

    def _write(self) -> None:
        fresh = self._state.with_suffix(".new")
        lines = [f"{key} {value!r}\n" for key, value in self._values.items()]
        fresh.write_text("".join(lines), encoding="ascii")
        fresh.replace(self._state)  # a reader sees the old state or the new one


def _key(name: str, device: int | None) -> str:
    return name if device is None else f"gpu{device}.{name}"
