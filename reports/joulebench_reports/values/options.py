"""Options that renderers share. Light: every command sees the renderers and what they take."""

from __future__ import annotations

from typing import Final

from joulebench.api import Option, Settings

#: By what a reader may have the cells sorted.
SORTS: Final = ("energy", "speed", "memory", "size", "quality")
#: Cells whose readings over time are in a page, unless it is asked for more.
MOST_TIMELINES: Final = 24
#: A cell whose perplexity grows by more is not recommended unless it is asked for.
DEFAULT_MAX_LOSS: Final = 0.05

#: Of every renderer with a table of cells.
VIEW: Final = (
    Option(
        "sort",
        "str",
        "energy",
        "order of the table of cells, best first within a model and workload; profile: as planned",
        choices=(*SORTS, "profile"),
    ),
    Option("top", "int", None, "rows of the table of cells, the best of each model and workload", minimum=1),
    Option("columns", "str", None, "columns of the table of cells, by their headings with commas between"),
)
#: Of every renderer that shows energies in other units.
PRICES: Final = (
    Option("battery_wh", "float", None, "a battery's energy in Wh, for the share that answers take", minimum=0.1),
    Option("price_per_kwh", "float", None, "price of a kWh in any currency, for the cost of answers", minimum=1e-6),
)
#: Of every renderer that shows verdicts.
BASELINE: Final = Option("baseline", "str", None, "label or id of the cell that the others are compared with")
#: Of every renderer that shows a whole report.
REPORT: Final = (*VIEW, *PRICES, BASELINE)


def baseline_of(settings: Settings) -> str | None:
    """The value of :data:`BASELINE`."""
    return None if settings.get("baseline") is None else str(settings["baseline"])
