"""The GPUs of this machine and the channels that each gives."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pynvml

from joulebench.api import Availability, Channel, Provenance, Quantity, ReaderSource
from joulebench_plugins.nvml.reader import FIGURES, GpuReader

#: The name under which ``joulebench.testing``'s stub library shows its GPUs: what it tells is made
#: up and must never be taken for a measurement.
STUB_NAME: Final = "Stub GPU"
#: The energy counter's period is 20–100 ms by the generation of the GPU; the longest is assumed
#: until the meter has measured it. Reading twice in a period misses no update.
_UPDATE_PERIOD_S: Final = 0.1
_ENERGY_RATE_HZ: Final = 20.0
#: NVIDIA states ±5 % for the power reading (nvml.h, nvmlDeviceGetPowerUsage). Bounds with nothing
#: said of the shape between them are a rectangle: its standard deviation is bound/√3 (GUM 4.3.7).
_POWER_UNCERTAINTY: Final = 0.05 / math.sqrt(3)

#: nvml.h: "On Ampere (except GA100) or newer GPUs, the API returns power averaged over 1 sec interval."
_AVERAGING_S: Final = 1.0
#: Boards with a GA100.
_INSTANTANEOUS: Final = ("A100", "A800", "A30")
#: What a driver of NVIDIA leaves on a system: its folders in /proc and /sys, its device files (those of
#: WSL and of Tegra too). A library that answers where none of them is, is somebody's imitation.
_DRIVER_FILES: Final = (
    "/proc/driver/nvidia/version",
    "/sys/module/nvidia",
    "/dev/nvidiactl",
    "/dev/dxg",
    "/dev/nvhost-ctrl-gpu",
)
_LOST_CURE: Final = "a lost GPU needs a reset (nvidia-smi -r) or a restart; [probe.nvml] devices chooses the others"

_POWER_NOTE: Final = (
    "uncalibrated within ±5 %; an average with gaps: A100 and H100 sense 25 of every 100 ms "
    "(arXiv 2312.02741), newer drivers average over 1 s (nvml.h)"
)
_ENERGY_NOTE: Final = "of the whole board, counted by the driver since it was loaded; never wraps"
_MIG_NOTE: Final = "MIG is on: the figure covers all instances of this GPU"


@dataclass(frozen=True, slots=True)
class _GpuFigure:
    """How a figure of the reader becomes a channel. ``group``: figures asked for together."""

    quantity: Quantity
    unit: str
    scale: float
    group: str = "state"
    kind: str = "gauge"
    rate_hz: float = 10.0
    relative_uncertainty: float = 0.0
    note: str = ""


#: Energy stands alone: it is read at window edges, where nothing else may cost time.
_KINDS: Final[dict[str, _GpuFigure]] = {
    # The counter is the sum of what the same sensor shows.
    "energy": _GpuFigure("energy", "J", 1e-3, "energy", "counter", _ENERGY_RATE_HZ, _POWER_UNCERTAINTY, _ENERGY_NOTE),
    "power": _GpuFigure("power", "W", 1e-3, "power", "gauge", _ENERGY_RATE_HZ, _POWER_UNCERTAINTY, _POWER_NOTE),
    "temperature": _GpuFigure("temperature", "degC", 1.0),
    "sm_clock": _GpuFigure("frequency", "Hz", 1e6),
    "memory_clock": _GpuFigure("frequency", "Hz", 1e6),
    "slowdown": _GpuFigure("throttle", "count", 1.0, note="bit mask of NVML's slowdown reasons; 0 is unthrottled"),
    "memory_used": _GpuFigure("memory", "bytes", 1.0),
    "utilization": _GpuFigure(
        "utilization", "1", 0.01, note="share of the driver's last period with any kernel running"
    ),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: which figures it gives, and why not the others."""

    index: int
    name: str
    mig: bool
    given: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    #: Whether it did not answer at all.
    lost: bool = False
    #: Time over which its power gauge averages.
    averaging_s: float | None = None


def inspect_devices(chosen: str) -> Availability:
    """Whether the chosen GPUs can be read; see :meth:`NvmlProbe.inspect`."""
    try:
        with _driver():
            count = int(pynvml.nvmlDeviceGetCount())
            indices = _indices(chosen, count)
            if isinstance(indices, str):
                return Availability.no(indices, 'devices = "all", or numbers that nvidia-smi lists')
            gpus = [_gpu(index) for index in indices]
    except pynvml.NVMLError as error:
        return _no_driver(error)
    if gpus and all(gpu.lost for gpu in gpus):
        return Availability.no(f"no GPU answers: {_refusals(gpus)}", _LOST_CURE)
    if not any(gpu.given for gpu in gpus):
        return Availability.no(f"no GPU gives any figure: {_refusals(gpus)}")
    return Availability(True, _refusals(gpus) or None, _LOST_CURE if any(gpu.lost for gpu in gpus) else None)


def device_channels(chosen: str) -> tuple[Channel, ...]:
    """Channels of the chosen GPUs."""
    with _driver():
        indices = _indices(chosen, int(pynvml.nvmlDeviceGetCount()))
        gpus = [] if isinstance(indices, str) else [_gpu(index) for index in indices]
    lost = tuple(_domain(gpu.index) for gpu in gpus if gpu.lost)
    return tuple(channel for gpu in gpus for channel in _channels(gpu, lost))


@contextlib.contextmanager
def _driver() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _indices(chosen: str, count: int) -> list[int] | str:
    """GPU numbers of the option, or what is wrong with it."""
    if count == 0:
        return "the driver is loaded, but there is no GPU"
    if chosen.strip() == "all":
        return list(range(count))
    parts = [part.strip() for part in chosen.split(",")]
    if not all(part.isdecimal() for part in parts):
        return f"devices = {chosen!r} is neither 'all' nor a list of numbers"
    numbers = sorted({int(part) for part in parts})
    if numbers[-1] >= count:
        return f"there is no GPU {numbers[-1]}: this machine has {count}, numbered from 0"
    return numbers


def _gpu(index: int) -> Gpu:
    """What one GPU gives. One that is lost must not hide the others."""
    try:
        return _answering_gpu(index)
    except pynvml.NVMLError as error:
        return Gpu(index, "no answer", False, (), (("all figures", str(error)),), lost=True)


def _answering_gpu(index: int) -> Gpu:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    errors = GpuReader(f"{index}:{','.join(FIGURES)}").errors
    answers = list(zip(FIGURES, errors, strict=True))
    return Gpu(
        index,
        str(pynvml.nvmlDeviceGetName(device)),
        _mig_is_on(device),
        tuple(name for name, error in answers if error is None),
        tuple((name, error) for name, error in answers if error is not None),
        averaging_s=_averaging_s(device),
    )


def _averaging_s(device: Any) -> float | None:
    """Over what time the power gauge averages (nvml.h, nvmlDeviceGetPowerUsage); ``None`` where it does not say."""
    try:
        architecture = int(pynvml.nvmlDeviceGetArchitecture(device))
        name = str(pynvml.nvmlDeviceGetName(device))
    except pynvml.NVMLError:
        return None
    newer = pynvml.NVML_DEVICE_ARCH_AMPERE <= architecture < pynvml.NVML_DEVICE_ARCH_UNKNOWN
    return _AVERAGING_S if newer and not any(chip in name for chip in _INSTANTANEOUS) else None


def _mig_is_on(device: Any) -> bool:
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(device)
    except pynvml.NVMLError:  # a GPU that cannot do MIG
        return False
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _refusals(gpus: list[Gpu]) -> str:
    refusals: list[str] = []
    for gpu in gpus:
        refused = [f"{name}: {error}" for name, error in gpu.refused]
        if gpu.mig:
            refused.insert(0, "MIG is on, figures cover all its instances")
        if refused:
            refusals.append(f"GPU {gpu.index} ({gpu.name}): {', '.join(refused)}")
    return "; ".join(refusals)


def _no_driver(error: pynvml.NVMLError) -> Availability:
    reason = f"NVML does not start: {error}"
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return Availability.no(
            f"{reason} (libnvidia-ml.so.1)",
            "install NVIDIA's driver; in a container, start it with --gpus all "
            "(NVIDIA Container Toolkit, driver capability 'utility')",
        )
    return Availability.no(reason, "check that nvidia-smi works; load or update the driver")


def _channels(gpu: Gpu, lost: tuple[str, ...]) -> Iterator[Channel]:
    groups: dict[str, list[str]] = {}
    for name in gpu.given:
        groups.setdefault(_KINDS[name].group, []).append(name)
    for names in groups.values():
        for item, name in enumerate(names):
            argument = f"{gpu.index}:{','.join(names)}"
            # The driver counts, for every process alike.
            source = ReaderSource("joulebench_plugins.nvml.reader:GpuReader", argument, item, concurrent=True)
            yield _channel(gpu, name, source, lost)


def _channel(gpu: Gpu, name: str, source: ReaderSource, lost: tuple[str, ...]) -> Channel:
    kind = _KINDS[name]
    # Where both exist the counter is the better one: the gauge beside it is for comparison.
    counted = name == "energy" or (name == "power" and "energy" not in gpu.given)
    lacking = f"the total lacks {', '.join(lost)}, which does not answer" if lost and counted else ""
    notes = [gpu.name, kind.note, _MIG_NOTE if gpu.mig else "", lacking]
    return Channel(
        path=f"nvml/gpu-{gpu.index}/{name}",
        quantity=kind.quantity,
        unit=kind.unit,
        kind="counter" if kind.kind == "counter" else "gauge",
        source=source,
        scale=kind.scale,
        provenance=_provenance(gpu),
        domain=_domain(gpu.index),
        counted=counted,
        rate_hz=kind.rate_hz,
        update_period_s=_UPDATE_PERIOD_S if name in ("energy", "power") else None,
        resolution=kind.scale,
        # An unsigned 64-bit count of mJ since the driver was loaded lasts longer than any GPU.
        wraps_at=None,
        relative_uncertainty=kind.relative_uncertainty,
        note="; ".join(note for note in notes if note),
        averaging_s=gpu.averaging_s if name == "power" else None,
        total_lacks=lost if counted else (),
    )


def _domain(index: int) -> str:
    return f"gpu-{index}"


def _provenance(gpu: Gpu) -> Provenance:
    real = gpu.name != STUB_NAME and any(Path(file).exists() for file in _DRIVER_FILES)
    return "measured" if real else "simulated"
