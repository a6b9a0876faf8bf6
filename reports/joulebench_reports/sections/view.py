"""How a reader wants the table of cells: its order, how many rows, which columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.api import PROVENANCES, Settings
from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.options import SORTS

_UNKNOWN: Final = math.inf


def _energy(cell: CellSummary) -> float:
    return _UNKNOWN if cell.headline.value is None else cell.headline.value


def _speed(cell: CellSummary) -> float:
    rate = cell.speed.decode_tok_s.value if cell.speed.decode_tok_s.value is not None else cell.rate.value
    return _UNKNOWN if rate is None else -rate


def _memory(cell: CellSummary) -> float:
    return _UNKNOWN if cell.memory.rss_peak_bytes is None else float(cell.memory.rss_peak_bytes)


def _size(cell: CellSummary) -> float:
    return _UNKNOWN if cell.memory.artifact_bytes is None else float(cell.memory.artifact_bytes)


def _quality(cell: CellSummary) -> float:
    return _UNKNOWN if cell.quality.perplexity is None else cell.quality.perplexity


_KEYS: Final[Mapping[str, Callable[[CellSummary], float]]] = dict(
    zip(SORTS, (_energy, _speed, _memory, _size, _quality), strict=True)
)


@dataclass(frozen=True, slots=True)
class View:
    """The choice of a reader; ``columns`` empty: those that have something to say."""

    sort: str = "energy"
    top: int | None = None
    columns: tuple[str, ...] = ()

    def ordered(self, cells: Sequence[CellSummary]) -> list[CellSummary]:
        """The cells in this order, those of a session, model and workload together; provenances apart."""
        groups: dict[tuple[str, str, str], list[CellSummary]] = {}
        for cell in cells:
            groups.setdefault((cell.session, cell.model, cell.workload), []).append(cell)
        if self.sort == "profile":
            kept = {cell.id for group in groups.values() for cell in group[: self.top]}
            return [cell for cell in cells if cell.id in kept]
        key = _KEYS[self.sort]
        ordered = (sorted(group, key=lambda cell: (_rank(cell), key(cell))) for group in groups.values())
        return [cell for group in ordered for cell in group[: self.top]]


#: The order and the columns where a reader asks for nothing.
DEFAULT_VIEW: Final = View()


def _rank(cell: CellSummary) -> int:
    """Figures of different provenance are not ranked together."""
    return PROVENANCES.index(cell.headline.provenance) if cell.headline.provenance else len(PROVENANCES)


def view_of(settings: Settings) -> View:
    """The choice in a renderer's settings."""
    columns, top = settings.get("columns"), settings.get("top")
    names = tuple(name.strip() for name in str(columns).split(",") if name.strip()) if columns is not None else ()
    return View(str(settings.get("sort", "energy")), top if isinstance(top, int) else None, names)


def check_columns(names: Sequence[str], known: Sequence[str]) -> None:
    """Raises :class:`JoulebenchError` for a heading that the table does not have."""
    for name in names:
        if name not in known:
            hint = unknown_name_hint(name, known)
            raise JoulebenchError(f"the table has no column '{name}'", where="--columns", hint=hint)


@dataclass(frozen=True, slots=True)
class Prices:
    """What energies are turned into beside joules: a battery of so many Wh, a price for each kWh."""

    battery_wh: float | None = None
    per_kwh: float | None = None


#: No battery and no price.
NO_PRICES: Final = Prices()


def prices_of(settings: Settings) -> Prices:
    """The values of :data:`~joulebench_reports.values.options.PRICES`."""
    battery, price = settings.get("battery_wh"), settings.get("price_per_kwh")
    return Prices(
        float(battery) if isinstance(battery, (int, float)) else None,
        float(price) if isinstance(price, (int, float)) else None,
    )
