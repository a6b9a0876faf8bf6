"""How a workload's unit of work is shown: bytes by the gigabyte, operations by the trillion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ShownUnit:
    """``energy`` is the unit of energy for ``per`` units of work; ``rate`` that of their rate.

    A rate in units of work a second, over ``rate_per``, is in ``rate``.
    """

    name: str
    per: float
    energy: str
    rate: str
    rate_per: float


_SHOWN: Final = {
    "byte": ShownUnit("GB", 1e9, "J/GB", "GB/s", 1e9),
    "operation": ShownUnit("TFLOP", 1e12, "J/TFLOP", "GFLOP/s", 1e9),
    # A thousandth of a joule for each call is a joule for a thousand of them.
    "call": ShownUnit("call", 1e3, "mJ/call", "call/s", 1.0),
    "second": ShownUnit("second", 1.0, "W", "s/s", 1.0),
    "s": ShownUnit("s", 1.0, "W", "s/s", 1.0),
}


def shown_unit(unit: str) -> ShownUnit:
    """How this unit of a workload is shown; a joule per second is a watt."""
    return _SHOWN.get(unit) or ShownUnit(unit, 1.0, f"J/{unit}", f"{unit}/s", 1.0)


#: Below so many joules a column is shown in the unit that is a thousandth, or a millionth.
_SMALL_J: Final = ((1e-4, 1e6, "µ"), (0.1, 1e3, "m"))


def energy_prefix(values: Iterable[float | None], unit: str) -> tuple[float, str]:
    """The factor and the unit that suit these joules together, such as 1000 and ``mJ/token``."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    if unit.startswith("J") and largest > 0:
        for limit, factor, prefix in _SMALL_J:
            if largest < limit:
                return factor, prefix + unit
    return 1.0, unit
