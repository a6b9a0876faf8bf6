"""Scenarios of the virtual rail in TOML: strict, so that a misspelt key is an error.

The keys are declared here as options; docs/rail.md lists them with an example. Shipped scenarios
are ``scenarios/*.toml`` in the plugins' profile folders.
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.api import Option, OptionValue
from joulebench.errors import ProfileError, unknown_name_hint
from joulebench.profile.position import locate
from joulebench.profile.values import complete
from joulebench.rail.scenarios import Drift, Level, Protocol, PulseTrain, Scenario, Segment, Sensor, Wander, Work

SCENARIO_VERSION: Final = 1
#: The shortest time that a scenario may name: a thousandth of RAPL's update.
_SHORTEST: Final = 1e-6
#: The shortest correlation time: its grid is a quarter of it, all through a cell.
_SHORTEST_CORRELATION: Final = 0.01

_START: Final = Option("start_s", "float", 0.0, "from when on", minimum=0.0)
_END: Final = Option("end_s", "float", None, "until when; without it for ever", minimum=0.0)

#: The options of a ``[[segment]]`` by its ``kind``.
SEGMENT_OPTIONS: Final[dict[str, tuple[Option, ...]]] = {
    "constant": (Option("power_w", "float", None, "power", minimum=0.0), _START, _END),
    "step": (
        Option("at_s", "float", None, "when it changes", minimum=0.0),
        Option("from_w", "float", None, "power before", minimum=0.0),
        Option("to_w", "float", None, "power after", minimum=0.0),
        _START,
        _END,
    ),
    "ramp": (
        Option("from_w", "float", None, "power at the start", minimum=0.0),
        Option("to_w", "float", None, "power at the end", minimum=0.0),
        _START,
        Option("end_s", "float", None, "when it ends", minimum=0.0),
    ),
    "pulses": (
        Option("power_w", "float", None, "power of a pulse, on top of the level"),
        Option("period_s", "float", None, "from pulse to pulse", minimum=_SHORTEST),
        Option("on_s", "float", None, "length of a pulse", minimum=0.0),
        Option("phase_s", "float", 0.0, "start of the first pulse", minimum=0.0),
    ),
    "noise": (
        Option("sd_w", "float", None, "standard deviation", minimum=0.0),
        Option(
            "correlation_s", "float", None, "time in which it falls to 1/e of itself", minimum=_SHORTEST_CORRELATION
        ),
    ),
    "drift": (Option("w_per_s", "float", None, "rise of the power, on top of the level"), _START),
}

SENSOR_OPTIONS: Final = (
    Option("kind", "str", "counter", "counter or gauge", choices=("counter", "gauge")),
    Option("period_s", "float", 0.001, "time between updates", minimum=_SHORTEST),
    Option("quantum_j", "float", 61e-6, "smallest step of the counter", minimum=1e-6),
    Option("wraps_at_j", "float", None, "energy at which the counter starts again", minimum=1e-3),
    Option("jitter", "share", 0.1, "updates are late by up to this share of the period", minimum=0.0, maximum=1.0),
    Option("stale_share", "share", 0.0, "share of updates that are left out", minimum=0.0, maximum=0.9),
    Option("averaging_s", "float", 0.025, "time that a gauge's value is a mean of", minimum=_SHORTEST),
    Option("delay_s", "float", 0.0, "age of a gauge's mean at its update", minimum=0.0),
    Option("phase_s", "float", 0.0, "time of the first update", minimum=0.0),
    Option("sampling_s", "float", None, "sampling by the meter within blocks", minimum=1e-3),
    Option("declared_period_s", "float", None, "what the probe says of the period", minimum=_SHORTEST),
    Option("restarts_each_s", "float", None, "a counter starts again from 0 so often", minimum=1.0),
)

WORK_OPTIONS: Final = (
    Option("requests", "int", 2, "requests in a block", minimum=1, maximum=100),
    Option("prefill_tokens", "int", 40, "prompt tokens of a request", minimum=1),
    Option("decode_tokens", "int", 60, "tokens written in a request", minimum=1),
    Option("token_spread", "share", 0.2, "tokens vary uniformly by ± this share", minimum=0.0, maximum=0.95),
    Option("prefill_s_per_token", "float", 0.002, "time of a prompt token", minimum=_SHORTEST),
    Option("decode_s_per_token", "float", 0.005, "time of a written token", minimum=_SHORTEST),
    Option("prefill_w", "float", 60.0, "power of a prefill, on top of the machine's", minimum=0.0),
    Option("decode_w", "float", 40.0, "power of decoding, on top of the machine's", minimum=0.0),
    Option("gap_s", "float", 0.05, "pause before a block", minimum=0.0),
    Option("setup_s", "float", 0.0, "idle time before each request of a block, not measured", minimum=0.0),
    Option("noise", "share", 0.02, "scatter of a block's working power", minimum=0.0, maximum=0.5),
    Option("correlation_s", "float", 0.0, "time in which that scatter forgets itself", minimum=0.0),
    Option("heavy_tails", "bool", False, "that scatter has tails (Student's t with 3 degrees of freedom)"),
    Option("pink_noise", "share", 0.0, "1/f noise of the working power over 1 to 256 blocks", minimum=0.0, maximum=0.5),
    Option("states", "share", 0.0, "half the distance of two states of the machine", minimum=0.0, maximum=0.5),
    Option("state_blocks", "float", 15.0, "blocks for which it stays in one, on average", minimum=1.0),
    Option("processes", "int", 1, "processes that share the blocks", minimum=1),
    Option("process_noise", "share", 0.0, "scatter of the processes' working power", minimum=0.0, maximum=0.5),
    Option("burst_period_s", "float", None, "work comes in bursts, one each period", minimum=1e-3),
    Option("burst_share", "share", 1.0, "share of its period that a burst takes", minimum=0.01, maximum=1.0),
)

PROTOCOL_OPTIONS: Final = (
    Option("blocks", "int", 40, "blocks of the cell", minimum=2, maximum=320),
    Option("target", "share", None, "stop at this half-width, from blocks on: 40, 80, … 320", minimum=1e-4),
    Option("dither", "bool", True, "a random wait of up to an update period before each block"),
    Option("idle_s", "float", 10.0, "idle baseline before and after", minimum=1.0),
)

SECTIONS: Final[dict[str, tuple[Option, ...]]] = {
    "sensor": SENSOR_OPTIONS,
    "work": WORK_OPTIONS,
    "protocol": PROTOCOL_OPTIONS,
}
_LEAST: Final = Option("least_coverage", "share", None, "least coverage, if not 93 %", minimum=0.0, maximum=0.95)
_TOP_KEYS: Final = ("version", "what", _LEAST.name, "segment", *SECTIONS)
_OPTIONAL: Final = frozenset({"start_s", "end_s", "phase_s"})


def read_scenario(path: Path) -> Scenario:
    """The scenario in a file; its name is the file's."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ProfileError("is not UTF-8 text", where=str(path)) from None
    return parse_scenario(text, str(path))


def parse_scenario(text: str, file: str) -> Scenario:
    """Check a scenario's text; ``file`` is named in errors and gives the scenario its name."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"not valid TOML: {error}", where=file) from None

    def where(*path: str) -> str:
        return locate(file, text, path)

    _check_top(data, where)
    values = {name: _section(data, name, where) for name in SECTIONS}
    scenario = Scenario(
        Path(file).stem,
        str(data.get("what", "")),
        _machine(data, _SegmentPlace(file, text)),
        Sensor(**values["sensor"]),  # type: ignore[arg-type]
        Work(**values["work"]),  # type: ignore[arg-type]
        Protocol(**values["protocol"]),  # type: ignore[arg-type]
        _least_coverage(data, where),
    )
    _check_whole(scenario, where)
    return scenario


def _check_top(data: Mapping[str, Any], where: Callable[..., str]) -> None:
    for key in data:
        if key not in _TOP_KEYS:
            raise ProfileError(f"unknown key '{key}'", where=where(key), hint=unknown_name_hint(key, _TOP_KEYS))
    version = data.get("version")
    if isinstance(version, bool) or version != SCENARIO_VERSION:
        raise ProfileError(
            "has no version" if version is None else f"scenario version {version!r} is unknown",
            where=where("version") if version is not None else where(),
            hint=f"write 'version = {SCENARIO_VERSION}'",
        )
    if not isinstance(data.get("what", ""), str):
        raise ProfileError("must be text", where=where("what"))


def _least_coverage(data: Mapping[str, Any], where: Callable[..., str]) -> float | None:
    stated = {name: value for name, value in data.items() if name == _LEAST.name}
    value = complete((_LEAST,), stated, where).get(_LEAST.name)
    return None if value is None else float(value)


def _section(data: Mapping[str, Any], name: str, where: Callable[..., str]) -> dict[str, OptionValue]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise ProfileError("must be a table", where=where(name), hint=f"write [{name}]")
    return complete(SECTIONS[name], table, lambda key: where(name, key))


def _check_whole(scenario: Scenario, where: Callable[..., str]) -> None:
    work, protocol = scenario.work, scenario.protocol
    if protocol.blocks < 2 * work.processes:
        raise ProfileError(
            f"{work.processes} processes share {protocol.blocks} blocks; each needs two",
            where=where("work", "processes"),
            hint="raise protocol.blocks, or have fewer processes",
        )
    if scenario.sensor.kind == "gauge" and scenario.sensor.sampling_s is None:
        raise ProfileError(
            "a gauge must be sampled", where=where("sensor", "kind"), hint="add sampling_s, half of period_s or less"
        )


# ---------------------------------------------------------------------------------------------
# Segments


class _SegmentPlace:
    """File and line of the segments' keys: tomllib gives none for arrays of tables."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()
        header = re.compile(r"\s*\[\[\s*segment\s*\]\]")
        self._starts = [i for i, line in enumerate(self._lines) if header.match(line)]

    def of(self, number: int, key: str | None = None) -> str:
        """``FILE:LINE: segment 2: key``; numbers count from 1."""
        name = f"segment {number}" if key is None else f"segment {number}: {key}"
        if number > len(self._starts):
            return f"{self._file}: {name}"
        line = self._starts[number - 1]
        for i in range(line + 1, len(self._lines)):
            if self._lines[i].lstrip().startswith("["):
                break
            if key is not None and re.match(rf"\s*{re.escape(key)}\s*=", self._lines[i]):
                line = i
                break
        return f"{self._file}:{line + 1}: {name}"


def _machine(data: Mapping[str, Any], place: _SegmentPlace) -> tuple[Segment, ...]:
    tables = data.get("segment", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ProfileError("must be tables, each written [[segment]]", where=place.of(1))
    if not tables:
        raise ProfileError(
            "names no [[segment]]: the machine would draw no power",
            where=place.of(1),
            hint='add [[segment]] with kind = "constant" and power_w = 20.0',
        )
    numbered = [
        (number, segment) for number, table in enumerate(tables, start=1) for segment in _segments(number, table, place)
    ]
    _check_overlap(numbered, place)
    return tuple(segment for _, segment in numbered)


def _segments(number: int, table: dict[str, Any], place: _SegmentPlace) -> list[Segment]:
    entries = dict(table)
    kind = entries.pop("kind", None)
    if kind not in SEGMENT_OPTIONS:
        raise ProfileError(
            "has no kind" if kind is None else f"unknown kind {kind!r}",
            where=place.of(number, None if kind is None else "kind"),
            hint=unknown_name_hint(str(kind), SEGMENT_OPTIONS),
        )
    options = SEGMENT_OPTIONS[kind]
    options_read = complete(options, entries, lambda key: place.of(number, key))
    for option in options:
        needed = option.name not in _OPTIONAL or (kind == "ramp" and option.name == "end_s")
        if needed and option.name not in options_read:
            raise ProfileError(
                f"a segment of kind '{kind}' needs {option.name} ({option.doc})",
                where=place.of(number),
                hint=f"add a line '{option.name} = …'",
            )
    values = {name: float(value) for name, value in options_read.items()}
    return _MAKERS[kind](values, lambda key: place.of(number, key))


def _ordered(values: Mapping[str, float], names: Sequence[str], where: Callable[[str], str]) -> None:
    """Times that must follow one another."""
    for before, after in itertools.pairwise(names):
        if not values[before] < values[after]:
            raise ProfileError(
                f"{after} = {values[after]:g} does not lie after {before} = {values[before]:g}",
                where=where(after),
                hint=f"make {after} greater than {before}",
            )


def _constant(values: dict[str, float], where: Callable[[str], str]) -> list[Segment]:
    values.setdefault("end_s", math.inf)
    _ordered(values, ("start_s", "end_s"), where)
    return [Level(values["start_s"], values["end_s"], values["power_w"], values["power_w"])]


def _step(values: dict[str, float], where: Callable[[str], str]) -> list[Segment]:
    values.setdefault("end_s", math.inf)
    _ordered(values, ("start_s", "at_s", "end_s"), where)
    return [
        Level(values["start_s"], values["at_s"], values["from_w"], values["from_w"]),
        Level(values["at_s"], values["end_s"], values["to_w"], values["to_w"]),
    ]


def _ramp(values: dict[str, float], where: Callable[[str], str]) -> list[Segment]:
    _ordered(values, ("start_s", "end_s"), where)
    return [Level(values["start_s"], values["end_s"], values["from_w"], values["to_w"])]


def _pulses(values: dict[str, float], where: Callable[[str], str]) -> list[Segment]:
    if values["on_s"] > values["period_s"]:
        raise ProfileError(
            f"a pulse of {values['on_s']:g} s is longer than its period of {values['period_s']:g} s",
            where=where("on_s"),
            hint="make on_s at most period_s",
        )
    return [PulseTrain(**values)]


_MAKERS: Final[dict[str, Callable[[dict[str, float], Callable[[str], str]], list[Segment]]]] = {
    "constant": _constant,
    "step": _step,
    "ramp": _ramp,
    "pulses": _pulses,
    "noise": lambda values, _: [Wander(**values)],
    "drift": lambda values, _: [Drift(**values)],
}


def _check_overlap(numbered: Iterable[tuple[int, Segment]], place: _SegmentPlace) -> None:
    levels = sorted(
        ((segment.start_s, segment.end_s, number) for number, segment in numbered if isinstance(segment, Level))
    )
    for (start, end, first), (following, _, second) in itertools.pairwise(levels):
        if following < end:
            shown = "for ever" if math.isinf(end) else f"until {end:g} s"
            raise ProfileError(
                f"begins at {following:g} s, inside segment {first} ({start:g} s {shown})",
                where=place.of(second),
                hint=f"give segment {first} an end_s of {following:g}; pulses, noise and drift "
                "are what is added on top of a level",
            )


# ---------------------------------------------------------------------------------------------
# Shipped scenarios


def scenario_files(folders: Iterable[Path]) -> dict[str, Path]:
    """Shipped scenarios by name, in the order of their names; an earlier folder wins."""
    files: dict[str, Path] = {}
    for folder in folders:
        for file in sorted((folder / "scenarios").glob("*.toml")):
            files.setdefault(file.stem, file)
    return dict(sorted(files.items()))


def shipped_scenarios() -> tuple[Scenario, ...]:
    """All scenarios of the installed plugins."""
    from joulebench.registry.loading import default_registry

    files = scenario_files(default_registry().profile_dirs())
    return tuple(read_scenario(file) for file in files.values())


def find_scenario(name: str) -> Scenario:
    """The scenario of a shipped name, or in a TOML file given by its path."""
    if name.endswith(".toml") or "/" in name:
        return read_scenario(Path(name))
    from joulebench.registry.loading import default_registry

    files = scenario_files(default_registry().profile_dirs())
    if name not in files:
        raise ProfileError(
            f"unknown scenario '{name}'", hint=unknown_name_hint(name, files) + "; or give the path of a .toml file"
        )
    return read_scenario(files[name])
