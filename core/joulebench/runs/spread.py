"""How far one machine's runs differ: a spread that no block of a run sees, measured once and kept.

``joulebench selftest --runs N`` measures it: the ratio of two cells, run after run. What the runs
scatter beyond their own intervals is the spread from run to run. It is kept in the user's cache
with what the machine is, and every later run on that machine records it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from joulebench.backendkit import cache_folder
from joulebench.runs.machine import Machine

#: Fewer runs tell no spread.
FEWEST_RUNS: Final = 3
_FILE: Final = "run-to-run.json"


@dataclass(frozen=True, slots=True)
class RunSpread:
    """Spread of the logarithm of a ratio of two cells from run to run: one standard deviation.

    ``ratios`` are those of the runs, ``within`` the mean standard uncertainty that a run by itself
    gives its ratio (a relative one), ``cells`` what was compared, ``quantity`` time or energy.
    """

    sigma: float
    within: float
    ratios: tuple[float, ...]
    cells: tuple[str, str]
    quantity: str


def spread_of_runs(
    ratios: Sequence[float], uncertainties: Sequence[float], cells: tuple[str, str], quantity: str
) -> RunSpread:
    """The spread that is left when the runs' own uncertainties are taken off (method of moments)."""
    if len(ratios) < FEWEST_RUNS:
        raise ValueError(f"{len(ratios)} runs tell no spread")
    logs = [math.log(ratio) for ratio in ratios]
    mean = math.fsum(logs) / len(logs)
    variance = math.fsum((log - mean) ** 2 for log in logs) / (len(logs) - 1)
    within = math.fsum(u * u for u in uncertainties) / len(uncertainties)
    sigma = math.sqrt(max(0.0, variance - within))
    return RunSpread(sigma, math.sqrt(within), tuple(ratios), cells, quantity)


def keep(spread: RunSpread, machine: Machine) -> Path:
    """Write the spread into the user's cache, for this machine alone. Returns the file."""
    file = cache_folder() / _FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": identity(machine), "spread": asdict(spread)}, indent=2), encoding="utf-8")
    return file


def kept(machine: Machine) -> RunSpread | None:
    """The spread of this machine; ``None`` where none was measured on one like it."""
    try:
        data = json.loads((cache_folder() / _FILE).read_text(encoding="utf-8"))
        spread = data["spread"]
        if data["machine"] != identity(machine):
            return None
        sigma, within = float(spread["sigma"]), float(spread["within"])
        ratios = tuple(float(ratio) for ratio in spread["ratios"])
        first, second = map(str, spread["cells"])
        if not (math.isfinite(sigma) and sigma >= 0 and len(ratios) >= FEWEST_RUNS):
            return None
        return RunSpread(sigma, within, ratios, (first, second), str(spread["quantity"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def identity(machine: Machine) -> dict[str, object]:
    """What makes a machine the same one: processor, cores, memory and what it runs in."""
    names = ("cpu", "memory_bytes", "virtualization", "container")
    return {name: value for name, value in asdict(machine).items() if name in names}


@dataclass(frozen=True, slots=True)
class RecordedSpread:
    """The spread as a session records it in its preflight; ``None`` where it is not known."""

    run_to_run_sigma: float | None = None
    run_to_run_runs: int | None = None
    run_to_run_quantity: str | None = None


def recorded(machine: Machine) -> RecordedSpread:
    """What was kept of this machine."""
    spread = kept(machine)
    return RecordedSpread() if spread is None else RecordedSpread(spread.sigma, len(spread.ratios), spread.quantity)
