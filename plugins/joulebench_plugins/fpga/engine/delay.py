"""Registers in a row: a signal as it was some cycles ago."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal


def delayed(m: Module, signal: Any, cycles: int, *, reset: bool = False) -> Any:
    """``signal`` (a value) through ``cycles`` registers.

    With ``reset`` the registers are cleared by the reset of the design, as those must be that say
    whether anything is valid; data has no need of it, and a reset net less is easier to route.
    """
    for _ in range(cycles):
        register = Signal(signal.shape(), reset_less=not reset)
        m.d.sync += register.eq(signal)
        signal = register
    return signal
