"""Reads figures of one GPU. The sampler imports this module: pynvml and the standard library.

Each figure is asked for by itself, so that one which the GPU does not give (``Not Supported`` with
MIG, on a notebook, in a virtual GPU) is ``None`` and never 0, and the others stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pynvml

#: Reasons that mean the GPU runs slower than it was asked to: power cap, hardware slowdown,
#: thermal slowdown by software and by hardware, power brake. Being idle and clocks that a user
#: set are no throttling (nvml.h, nvmlClocksEventReason*).
SLOWDOWN_BITS: Final = 0x04 | 0x08 | 0x20 | 0x40 | 0x80

_Ask = Callable[[Any], int]


def _total_energy(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(device))


def _power(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetPowerUsage(device))


def _temperature(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetTemperatureV(device, pynvml.NVML_TEMPERATURE_GPU))


def _temperature_older(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU))


def _sm_clock(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetClockInfo(device, pynvml.NVML_CLOCK_SM))


def _memory_clock(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetClockInfo(device, pynvml.NVML_CLOCK_MEM))


def _slowdown(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(device)) & SLOWDOWN_BITS


def _slowdown_older(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)) & SLOWDOWN_BITS


def _memory_used(device: Any) -> int:
    # Version 2 keeps what the driver reserves for itself apart; version 1 counts it as used.
    return int(pynvml.nvmlDeviceGetMemoryInfo(device, version=pynvml.nvmlMemory_v2).used)


def _memory_used_older(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetMemoryInfo(device).used)


def _utilization(device: Any) -> int:
    return int(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)


#: How to ask for each figure: today's call first, then that of older drivers.
_CALLS: Final[dict[str, tuple[_Ask, ...]]] = {
    "energy": (_total_energy,),
    "power": (_power,),
    "temperature": (_temperature, _temperature_older),
    "sm_clock": (_sm_clock,),
    "memory_clock": (_memory_clock,),
    "slowdown": (_slowdown, _slowdown_older),
    "memory_used": (_memory_used, _memory_used_older),
    "utilization": (_utilization,),
}
FIGURES: Final = tuple(_CALLS)


@dataclass(slots=True)
class _Figure:
    ask: _Ask
    error: str | None


class GpuReader:
    """Figures of one GPU, in the order of the argument ``"INDEX:FIGURE,FIGURE"``."""

    def __init__(self, argument: str) -> None:
        index, _, names = argument.partition(":")
        # NVML counts its users; a process that ends gives everything back.
        pynvml.nvmlInit()
        self._device = pynvml.nvmlDeviceGetHandleByIndex(int(index))
        self._figures = [_settle(self._device, name) for name in names.split(",")]

    @property
    def errors(self) -> list[str | None]:
        """Why each figure could not be read when this reader was made; ``None`` if it could."""
        return [figure.error for figure in self._figures]

    def read(self) -> Sequence[int | None]:
        """All figures now, raw: mJ, mW, degC, MHz, bits, bytes, percent."""
        return [self._ask(figure) for figure in self._figures]

    def _ask(self, figure: _Figure) -> int | None:
        try:
            return figure.ask(self._device)
        except pynvml.NVMLError:
            return None


def _settle(device: Any, name: str) -> _Figure:
    """Choose the call that this driver answers; keep the first one's error if none does."""
    first_error: str | None = None
    for ask in _CALLS[name]:
        try:
            ask(device)
        except pynvml.NVMLError as error:
            first_error = first_error or str(error)
        else:
            return _Figure(ask, None)
    return _Figure(_CALLS[name][0], first_error)
