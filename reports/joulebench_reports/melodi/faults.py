"""What is wrong with a published table: each fault in words, with the rows that it touches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Final

from joulebench_reports.melodi.columns import DURATIONS, ENERGIES, J_PER_KWH, TOKENS
from joulebench_reports.melodi.publishedtable import PublishedRow, PublishedTable

#: Mean power of a prompt that no machine running a language model has. Below: a processor that
#: computes without pause draws more than half a watt. Above: a rack server with eight
#: accelerators is rated at about 10 kW (NVIDIA DGX H100 user guide: 10.2 kW).
LOWEST_POWER_W: Final = 0.5
HIGHEST_POWER_W: Final = 20_000.0
#: Share of a prompt's time that loading the model may take before it is called a cold start.
_COLD_SHARE: Final = 0.05
#: Change of J/token between tenths of a table that is called drift, and the smallest tenth.
_DRIFT: Final = 0.2
_PARTS: Final = 10
_SMALLEST_PART: Final = 20
#: Relative difference at which two figures of one row no longer say the same.
_SAME: Final = 1e-6
_UNKNOWN: Final = frozenset({"unknown", "none", "n/a", "?"})


@dataclass(frozen=True, slots=True)
class TableFault:
    """One fault. ``rows`` of ``of`` rows are touched; ``line`` is the first of them."""

    name: str
    what: str
    rows: int
    of: int
    line: int | None = None


def findings(table: PublishedTable) -> tuple[TableFault, ...]:
    """Every fault of a table, in the order of a reader's interest."""
    checks = (
        _device,
        _silent,
        _index_columns,
        _impossible,
        _zeros,
        _negatives,
        _times,
        _clocks,
        _totals,
        _cold,
        _drift,
        _missing,
        _unknown_columns,
    )
    return tuple(fault for check in checks for fault in check(table))


def known_device(row: PublishedRow) -> str | None:
    """The kind of device of a row, ``None`` where it says that it does not know."""
    device = row.texts["type"]
    return None if device is None or device.strip().lower() in _UNKNOWN else device


def silent_columns(rows: Sequence[PublishedRow]) -> tuple[str, ...]:
    """Energy columns that are 0 in every row: a sensor that was missing, not one that read 0."""
    return tuple(name for name in ENERGIES if _is_silent(rows, name))


def _is_silent(rows: Sequence[PublishedRow], name: str) -> bool:
    values = [row.numbers.get(name) for row in rows]
    return any(value == 0 for value in values) and not any(values)


def _of_rows(
    table: PublishedTable, name: str, what: str, is_touched: Callable[[PublishedRow], bool]
) -> Iterator[TableFault]:
    touched = [row for row in table.rows if is_touched(row)]
    if touched:
        yield TableFault(name, what, len(touched), len(table.rows), touched[0].line)


def _device(table: PublishedTable) -> Iterator[TableFault]:
    texts = {row.texts["type"] for row in table.rows if known_device(row) is None}
    names = " or ".join(f"'{text}'" if text else "empty" for text in sorted(texts, key=str))
    yield from _of_rows(
        table,
        "device_unknown",
        f"the device type is {names}: the rows cannot be told apart by device",
        lambda row: known_device(row) is None,
    )


def _silent(table: PublishedTable) -> Iterator[TableFault]:
    silent = silent_columns(table.rows)
    sums = {name: _sum_kwh(table.rows, name) for name in ENERGIES if name not in silent}
    others = [f"{name} is {kwh:.4g} kWh in total" for name, kwh in sums.items() if kwh]
    beside = f" although {others[-1] if len(others) == 1 else _cpu_first(others)}"
    for name in silent:
        yield TableFault(
            "silent_sensor",
            f"{name} is 0 in every row{beside if others else ''}: the sensor was missing; it is "
            "read as unknown, not as 0",
            len(table.rows),
            len(table.rows),
            table.rows[0].line,
        )


def _cpu_first(others: Sequence[str]) -> str:
    return next((other for other in others if "llm_cpu" in other), others[0])


def _sum_kwh(rows: Sequence[PublishedRow], name: str) -> float:
    return math.fsum(row.numbers.get(name) or 0.0 for row in rows)


def _index_columns(table: PublishedTable) -> Iterator[TableFault]:
    if not table.unnamed:
        return
    shown = ", ".join(f"'{name}'" if name else "one without a name" for name, _ in table.unnamed)
    kinds = {values for _, values in table.unnamed}
    equal = len(kinds) < len(table.unnamed)
    constant = [f"'{name}'" for name, values in table.unnamed if len(set(values)) == 1 < len(values)]
    suffix = "; unnamed duplicates of each other" if equal else ""
    same = f"; the same in every row: {', '.join(constant)}" if constant else ""
    yield TableFault(
        "index_columns",
        f"columns of row numbers were saved with the table ({shown}{suffix}{same}): left out",
        len(table.rows),
        len(table.rows),
    )


def power_w(row: PublishedRow) -> float | None:
    """Mean power of a prompt: its energy over its clock time."""
    kwh = row.numbers.get("energy_consumption_llm")
    if kwh is None or not row.clock_s or row.clock_s < 0:
        return None
    return kwh * J_PER_KWH / row.clock_s


def _impossible(table: PublishedTable) -> Iterator[TableFault]:
    def is_out(row: PublishedRow) -> bool:
        power, kwh = power_w(row), row.numbers.get("energy_consumption_llm")
        out = power is not None and power != 0 and not LOWEST_POWER_W <= power <= HIGHEST_POWER_W
        return out or (not row.numbers.get("response_token_length") and bool(kwh))

    touched = [row for row in table.rows if is_out(row)]
    if touched:
        ratios = [
            kwh * J_PER_KWH / tokens
            for row in touched
            if (kwh := row.numbers.get("energy_consumption_llm")) is not None
            and (tokens := row.numbers.get("response_token_length"))
        ]
        powers = [power for row in touched if (power := power_w(row)) is not None]
        detail = f" (median {median(ratios):.3g} J/token" if ratios else " (no tokens"
        detail += f" at {median(powers):.3g} W)" if powers else ")"
        yield TableFault(
            "impossible_energy",
            f"impossible J/token{detail}: a prompt draws between {LOWEST_POWER_W:g} W and "
            f"{HIGHEST_POWER_W / 1000:g} kW and ends with an answer",
            len(touched),
            len(table.rows),
            touched[0].line,
        )


def _is_zero(name: str, row: PublishedRow) -> bool:
    return row.numbers.get(name) == 0


def _is_negative(name: str, row: PublishedRow) -> bool:
    return (row.numbers.get(name) or 0) < 0


def _is_missing(name: str, row: PublishedRow) -> bool:
    return row.numbers.get(name) is None


def _zeros(table: PublishedTable) -> Iterator[TableFault]:
    for name in ENERGIES:
        if not _is_silent(table.rows, name):
            yield from _of_rows(
                table,
                "zero_energy",
                f"{name} is 0 in some rows: no joule was seen, which is read as unknown",
                partial(_is_zero, name),
            )


def _negatives(table: PublishedTable) -> Iterator[TableFault]:
    for name in (*ENERGIES, *DURATIONS, *TOKENS):
        yield from _of_rows(table, "negative", f"{name} is negative: read as unknown", partial(_is_negative, name))


def _times(table: PublishedTable) -> Iterator[TableFault]:
    def backwards(row: PublishedRow) -> bool:
        start, end = row.times["start_time"], row.times["end_time"]
        return start is not None and end is not None and end <= start

    yield from _of_rows(table, "end_before_start", "end_time is not after start_time", backwards)
    for name, what, earlier in (
        ("times_not_rising", "start_time is before that of the row above", "start_time"),
        ("overlap", "the prompt began before the one above had ended", "end_time"),
    ):
        touched = [
            row
            for above, row in pairwise(table.rows)
            if (before := above.times[earlier]) is not None
            and (start := row.times["start_time"]) is not None
            and start < before
        ]
        if touched:
            yield TableFault(name, what, len(touched), len(table.rows), touched[0].line)


def _clocks(table: PublishedTable) -> Iterator[TableFault]:
    def differs(row: PublishedRow) -> bool:
        start, end = row.times["start_time"], row.times["end_time"]
        if start is None or end is None or row.clock_s is None:
            return False
        return abs((end - start).total_seconds() - row.clock_s) > 1e-3

    yield from _of_rows(table, "clock_differs", "clock_duration is not end_time - start_time", differs)


def _totals(table: PublishedTable) -> Iterator[TableFault]:
    def differs(row: PublishedRow) -> bool:
        parts = [row.numbers.get(f"energy_consumption_llm_{part}") for part in ("cpu", "gpu")]
        total = row.numbers.get("energy_consumption_llm_total")
        if total is None or None in parts:
            return False
        return abs(math.fsum(part or 0.0 for part in parts) - total) > _SAME * abs(total)

    yield from _of_rows(table, "total_differs", "energy_consumption_llm_total is not CPU + GPU", differs)


def _cold(table: PublishedTable) -> Iterator[TableFault]:
    def is_cold(row: PublishedRow) -> bool:
        load, total = (row.numbers.get(name) or 0 for name in ("load_duration", "total_duration"))
        return load > _COLD_SHARE * total > 0

    longest = max((row.numbers.get("load_duration") or 0 for row in table.rows), default=0)
    yield from _of_rows(
        table, "cold_start", f"loading the model is inside the prompt's energy (up to {longest * 1e-9:.1f} s)", is_cold
    )


def _drift(table: PublishedTable) -> Iterator[TableFault]:
    """J/token of tenths of the table, one after the other: a machine that changed on the way."""
    size = math.ceil(len(table.rows) / _PARTS)
    if size < _SMALLEST_PART:
        return
    parts = [table.rows[at : at + size] for at in range(0, len(table.rows), size)]
    known = [(part, ratio) for part in parts if (ratio := _ratio(part)) is not None]
    if not known:
        return
    low, high = (pick(known, key=lambda fault: fault[1]) for pick in (min, max))
    if high[1] > (1 + _DRIFT) * low[1]:
        yield TableFault(
            "drift",
            f"J/token drifted: {low[1]:.1f} over the {len(low[0])} prompts from line "
            f"{low[0][0].line}, {high[1]:.1f} over those from line {high[0][0].line}; the machine "
            "was not the same throughout, and prompts are not independent measurements",
            len(high[0]),
            len(table.rows),
            high[0][0].line,
        )


def _ratio(rows: Sequence[PublishedRow]) -> float | None:
    tokens = math.fsum(row.numbers.get("response_token_length") or 0.0 for row in rows)
    joules = _sum_kwh(rows, "energy_consumption_llm") * J_PER_KWH
    return joules / tokens if tokens > 0 and joules > 0 else None


def _missing(table: PublishedTable) -> Iterator[TableFault]:
    for name in (*TOKENS, *ENERGIES):
        if name in table.columns:
            yield from _of_rows(table, "missing", f"{name} is empty", partial(_is_missing, name))
        else:
            what = f"there is no column {name}"
            yield TableFault("missing", what, len(table.rows), len(table.rows))


def _unknown_columns(table: PublishedTable) -> Iterator[TableFault]:
    if table.unknown:
        shown = ", ".join(f"'{name}'" for name in table.unknown)
        yield TableFault("unknown_columns", f"not MELODI's and left out: {shown}", len(table.rows), len(table.rows))
