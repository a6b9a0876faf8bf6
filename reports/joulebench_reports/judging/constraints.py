"""What a combination must keep to be deployed: ``peak_memory<500MB``, ``ttft<=200ms``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from joulebench.api import Provenance
from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import data_size, number, plain, seconds

_BYTES: Final = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FORM: Final = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(\S*)\s*")


@dataclass(frozen=True, slots=True)
class _Quantity:
    """Units that a limit may have, how a value is shown, and where it is found in a cell."""

    units: Mapping[str, float]
    shown: Callable[[float | None], str]
    figure: Callable[[CellSummary, Provenance | None], Figure]


def _bytes_of(name: str) -> Callable[[CellSummary, Provenance | None], Figure]:
    def find(cell: CellSummary, provenance: Provenance | None) -> Figure:
        value = getattr(cell.memory, name)
        return Figure(None if value is None else float(value), "B")

    return find


def energy_of(cell: CellSummary, provenance: Provenance | None) -> Figure:
    """The gross energy of one provenance, per unit of the cell's work."""
    for summary in cell.energy:
        if summary.provenance == provenance:
            return summary.gross
    return Figure(None, "J", reason_if_null=f"no {provenance} energy")


def rate_of(cell: CellSummary, provenance: Provenance | None = None) -> Figure:
    """Tokens a second of decoding, else units of work a second."""
    decoding = cell.speed.decode_tok_s
    return cell.rate if decoding.value is None else decoding


QUANTITIES: Final[Mapping[str, _Quantity]] = {
    "peak_memory": _Quantity(_BYTES, data_size, _bytes_of("rss_peak_bytes")),
    "device_memory": _Quantity(_BYTES, data_size, _bytes_of("device_peak_bytes")),
    "disk": _Quantity(_BYTES, data_size, _bytes_of("artifact_bytes")),
    "energy": _Quantity({"": 1.0, "J": 1.0, "mJ": 1e-3}, number, energy_of),
    "rate": _Quantity({"": 1.0, "tok/s": 1.0}, number, rate_of),
    "ttft": _Quantity(_SECONDS, seconds, lambda cell, _: cell.speed.ttft_median_s),
    "tpot": _Quantity(_SECONDS, seconds, lambda cell, _: cell.speed.tpot_s),
    "perplexity": _Quantity({"": 1.0}, lambda x: number(x, 4), lambda cell, _: Figure(cell.quality.perplexity, "1")),
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """``quantity`` compared with ``value`` (in B, J, s or 1)."""

    quantity: str
    comparison: str
    value: float
    text: str

    def fault(self, cell: CellSummary, provenance: Provenance | None) -> str | None:
        """Why the cell does not keep the limit; ``None`` where it does. Unknown is a fault."""
        quantity = QUANTITIES[self.quantity]
        figure = quantity.figure(cell, provenance)
        name = self.quantity.replace("_", " ")
        if figure.value is None:
            return f"{name} unknown: " + plain(figure.reason_if_null or "not recorded")
        if _COMPARE[self.comparison](figure.value, self.value):
            return None
        return f"{name} {quantity.shown(figure.value)}, where {self.text} is asked for"

    def doubt(self, cell: CellSummary, provenance: Provenance | None) -> str | None:
        """Said of a cell that keeps the limit, with an interval that reaches beyond it."""
        figure = QUANTITIES[self.quantity].figure(cell, provenance)
        if figure.low is None or figure.high is None or not figure.low < self.value < figure.high:
            return None
        return f"the interval of its {self.quantity.replace('_', ' ')} reaches beyond {self.text}"


def parse_constraint(text: str) -> Constraint:
    """A limit as it is written. Raises :class:`JoulebenchError` that says what is wrong."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise JoulebenchError(f"'{text}' is not NAME<VALUE, such as peak_memory<500MB", where="--limit")
    name, comparison, value, unit = match.groups()
    quantity = QUANTITIES.get(name)
    if quantity is None:
        raise JoulebenchError(f"no quantity '{name}'", where="--limit", hint=unknown_name_hint(name, QUANTITIES))
    if unit not in quantity.units:
        units = ", ".join(unit or "none" for unit in quantity.units)
        raise JoulebenchError(
            f"{name} has no unit '{unit}'" if unit else f"{name} needs a unit", where="--limit", hint=f"valid: {units}"
        )
    written = f"{name.replace('_', ' ')} {comparison} {value}" + (f" {unit}" if unit else "")
    return Constraint(name, comparison, float(value) * quantity.units[unit], written)
