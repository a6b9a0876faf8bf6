"""How a workload's unit of work is shown: bytes by the gigabyte, operations by the trillion."""

from __future__ import annotations

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


#: Ends of the names of a table's columns and their units, the longest first.
_BY_ENDING: Final = (
    ("_j_per_unit", "as in energy_unit"),
    ("_nats_per_token", "nats/token"),
    ("_nats_mean", "nats/token"),
    ("_nats_max", "nats/token"),
    ("_tok_per_s", "tok/s"),
    ("_bytes", "B"),
    ("_share", "1"),
    ("_ratio", "1"),
    ("_s", "s"),
    ("_w", "W"),
    ("_c", "degC"),
)
_BY_NAME: Final = {"mbu": "1", "mfu": "1", "work_rate": "as in work_rate_unit", "perplexity": "1"}


def unit_of_column(name: str) -> str:
    """The unit of a column of the cells' table by its name; empty where it has none."""
    base = name.removesuffix("_low").removesuffix("_high")
    if base in _BY_NAME:
        return _BY_NAME[base]
    return next((unit for ending, unit in _BY_ENDING if base.endswith(ending)), "")
