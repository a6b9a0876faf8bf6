"""What is known of a device: its size, clock, memory and power, each figure with its source."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import JoulebenchError, unknown_name_hint

DEVICE_VERSION: Final = 1
_FOLDER: Final = Path(__file__).parent / "boards"


class DeviceFileError(JoulebenchError):
    """A description of a device that cannot be used; ``where`` is its file and key."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure of a device with the range in which it may lie, and where it is from."""

    value: float
    low: float
    high: float
    source: str


@dataclass(frozen=True, slots=True)
class FpgaDevice:
    """A device. Each quantity is in the unit of its name; bandwidth is that of the data sheet.

    ``lanes`` and ``engines`` are the design that fits it well: so many engines side by side, each
    with its own share of the rows and of the memory's bandwidth.
    """

    name: str
    title: str
    memory: str
    lanes: int
    engines: int
    clock_hz: Quantity
    bandwidth_bytes_per_s: Quantity
    #: Share of the bandwidth that a stream of weights gets.
    efficiency: Quantity
    #: From asking for a word to having it.
    latency_s: Quantity
    memory_bytes: Quantity
    on_chip_bytes: Quantity
    multipliers: Quantity
    luts: Quantity
    multipliers_per_lane: Quantity
    multipliers_per_engine: Quantity
    luts_per_lane: Quantity
    luts_per_engine: Quantity
    dram_pj_per_bit: Quantity
    on_chip_pj_per_bit: Quantity
    #: One int8 multiplication and its addition, with the wires to it.
    mac_pj: Quantity
    static_w: Quantity


#: Names of the tables of a file that hold a quantity.
QUANTITIES: Final = tuple(name for name, field in FpgaDevice.__dataclass_fields__.items() if field.type == "Quantity")
_TEXTS: Final = ("name", "title", "memory")
#: What a figure is there for, said where it is missing.
_NEEDED_FOR: Final = {
    "clock_hz": "seconds are cycles divided by the clock",
    "bandwidth_bytes_per_s": "weights come no faster than that",
    "static_w": "energy has a part that only time makes",
}


def board_names() -> tuple[str, ...]:
    """The shipped descriptions."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.toml")))


def board(name: str) -> FpgaDevice:
    """A shipped description."""
    if name not in board_names():
        raise DeviceFileError(f"no board '{name}'", where="board", hint=unknown_name_hint(name, board_names()))
    return read_device(_FOLDER / f"{name}.toml")


def read_device(file: Path) -> FpgaDevice:
    """The description in a TOML file. Raises :class:`DeviceFileError` that says what is wrong."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceFileError(f"cannot be read: {error}", where=str(file)) from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeviceFileError(f"is no TOML: {error}", where=str(file)) from None
    return _device(table, str(file))


def _device(table: Mapping[str, Any], where: str) -> FpgaDevice:
    known = {"version", "engine", *_TEXTS, *QUANTITIES}
    for key in table:
        if key not in known:
            raise DeviceFileError(f"unknown key '{key}'", where=where, hint=unknown_name_hint(key, known))
    if table.get("version") != DEVICE_VERSION:
        raise DeviceFileError(
            f"is of version {table.get('version')!r}; version = {DEVICE_VERSION} is understood", where=where
        )
    for key in _TEXTS:
        if not isinstance(table.get(key), str):
            raise DeviceFileError(f'needs {key} = "…"', where=where)
    engine = table.get("engine")
    if not isinstance(engine, dict):
        raise DeviceFileError("needs a table [engine] with lanes and engines", where=where)
    for key in engine:
        if key not in ("lanes", "engines"):
            hint = unknown_name_hint(key, ("lanes", "engines"))
            raise DeviceFileError(f"unknown key '{key}'", where=f"{where}: engine", hint=hint)
    values: dict[str, Any] = {key: table[key] for key in _TEXTS}
    values["lanes"] = _count(engine.get("lanes"), f"{where}: engine.lanes")
    values["engines"] = _count(engine.get("engines", 1), f"{where}: engine.engines")
    values |= {name: _quantity(table, name, where) for name in QUANTITIES}
    return FpgaDevice(**values)


def _count(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DeviceFileError(f"must be a whole number above 0, not {value!r}", where=where)
    return value


def _quantity(device: Mapping[str, Any], name: str, where: str) -> Quantity:
    table = device.get(name)
    place = f"{where}: {name}"
    if table is None:
        why = _NEEDED_FOR.get(name)
        raise DeviceFileError(
            f"has no [{name}]" + (f": {why}" if why else ""),
            where=where,
            hint=f'add [{name}] with value, low, high and source = "where it is from"',
        )
    if not isinstance(table, dict):
        raise DeviceFileError("must be a table with value, low, high and source", where=place)
    for key in table:
        if key not in Quantity.__dataclass_fields__:
            hint = unknown_name_hint(key, Quantity.__dataclass_fields__)
            raise DeviceFileError(f"unknown key '{key}'", where=place, hint=hint)
    value = _number(table.get("value"), f"{place}.value")
    low = _number(table.get("low", value), f"{place}.low")
    high = _number(table.get("high", value), f"{place}.high")
    if not low <= value <= high:
        raise DeviceFileError(f"{value:g} is not within {low:g} … {high:g}", where=place)
    source = table.get("source")
    if not isinstance(source, str) or not source.strip():
        raise DeviceFileError("needs a source: where is the figure from?", where=place)
    if value <= 0:
        raise DeviceFileError("must be above 0", where=f"{place}.value")
    if name == "efficiency" and high > 1:
        raise DeviceFileError("is a share: at most 1", where=place)
    return Quantity(value, low, high, source.strip())


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DeviceFileError(f"must be a number, not {value!r}", where=where)
    if value < 0:
        raise DeviceFileError("must not be negative", where=where)
    return float(value)
