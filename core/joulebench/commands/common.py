"""What several commands share: tables on a terminal, JSON, and how a profile is planned."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from joulebench.registry.loading import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from joulebench.plan.cells import Duration, Plan
    from joulebench.plan.loading import PlannedProfile
    from joulebench.profile.reading import Profile


_UNITS: Final = ((3600, "h"), (60, "min"), (1, "s"))


def echo_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, default=str))


def echo_table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows in aligned columns; the last column is left as long as it is."""
    table = [list(header), *map(list, rows)] if header else list(map(list, rows))
    if not table:
        return
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    for number, row in enumerate(table):
        cells = [text.ljust(width) for text, width in zip(row[:-1], widths, strict=True)]
        line = "  ".join([*cells, row[-1]]).rstrip()
        click.echo(click.style(line, bold=True) if header and number == 0 else line)


def load_profile(name: str, overrides: Sequence[str], *, trusted: bool = True) -> PlannedProfile:
    """The profile that a command names, planned.

    A profile that lies in a session executes nothing unless it is trusted.
    """
    from joulebench.plan.loading import plan_profile

    return plan_profile(name, overrides, None if trusted else _require_consent)


def _require_consent(file: Path, profile: Profile, registry: Registry) -> None:
    from joulebench.plan.consent import programs_of, require_consent

    if programs_of(profile, registry):
        from joulebench.runs.folder import in_session  # knows sessions, and so pyarrow

        if in_session(file):
            require_consent(profile, registry)


def duration_text(seconds: float) -> str:
    """``75`` as ``1 min 15 s``, ``1000`` as ``17 min``: seconds only where they matter."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def between_text(duration: Duration) -> str:
    """A plan's time: ``at least 40 s, at most 28 min``."""
    return f"at least {duration_text(duration.minimum_s)}, at most {duration_text(duration.maximum_s)}"


def range_text(minimum_s: float, maximum_s: float) -> str:
    """A range of times, rounded outwards to whole units: ``20–50 s``, ``3–12 min``, ``50 s – 4 min``.

    A maximum is never shown as nothing: 0.2 s are ``up to 1 s``.
    """
    unit_s, unit = next((size, name) for size, name in _UNITS if maximum_s >= 2 * size or size == 1)
    highest = max(1, math.ceil(maximum_s / unit_s))
    low_s, low_unit = next((size, name) for size, name in _UNITS if size <= unit_s and (minimum_s >= size or size == 1))
    lowest = math.floor(minimum_s / low_s)
    if lowest == 0:
        return f"up to {highest} {unit}"
    if low_unit != unit:
        return f"{lowest} {low_unit} – {highest} {unit}"
    return f"{highest} {unit}" if lowest == highest else f"{lowest}–{highest} {unit}"


def thread_warnings(plan: Plan) -> list[str]:
    """What to know of cells that ask for more threads than there are CPUs for this process."""
    from joulebench.backendkit import allowed_cores

    cpus = allowed_cores()
    threads = [cell.backend_settings.get("threads") for cell in plan.runnable]
    beyond = [number for number in threads if isinstance(number, int) and number > cpus]
    if not beyond:
        return []
    numbers = ", ".join(map(str, sorted(set(beyond))))
    cells = "1 cell has" if len(beyond) == 1 else f"{len(beyond)} cells have"
    has = "1 CPU" if cpus == 1 else f"{cpus} CPUs"
    return [f"{cells} more threads ({numbers}) than the {has} usable here: threads will wait for each other"]


def json_option(function: Any) -> Any:
    """The ``--json`` flag."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def trust_option(function: Any) -> Any:
    """The ``--trust`` flag."""
    return click.option("--trust", is_flag=True, help="Execute programs named by a profile that comes with a session.")(
        function
    )


def set_option(function: Any) -> Any:
    """The repeatable ``--set key.path=value``."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        help="Override a value of the profile (TOML syntax). Repeatable.",
    )(function)
