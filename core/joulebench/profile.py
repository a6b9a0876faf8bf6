"""Profiles: what to measure, in strict and versioned TOML.

Everything a profile may say is declared here as options (or by the plugins it names), so that
reading, checking, the JSON schema for editors and the documentation come from one place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from joulebench.api import Option, OptionValue
from joulebench.errors import ProfileError, unknown_name_hint
from joulebench.settings import complete, locate

PROFILE_VERSION: Final = 1

PROTOCOL_OPTIONS: Final = (
    Option(
        "seed",
        "int",
        1,
        "seed of block orders, dithers, prompt order and generated inputs",
        minimum=0,
        maximum=2**63 - 1,
    ),
    Option("processes", "int", 1, "worker processes per cell in one pass", minimum=1),
    Option("min_blocks", "int", 20, "blocks at the first look", minimum=1),
    Option("max_blocks", "int", 320, "most blocks of a cell", minimum=1),
    Option("target", "share", 0.02, "stop at this half-width of the 95 % interval", minimum=1e-4),
    Option("block_s", "float", 1.0, "least length of a block, in seconds", minimum=0.01),
    Option("requests_per_block", "int", None, "fixed number of requests in a block", minimum=1),
    Option("time_budget_s", "float", 600.0, "most measured time of a cell", minimum=0.1),
    Option("idle_s", "float", 10.0, "idle baseline before and after a group", minimum=0.0),
    Option("warmup_min_s", "float", 3.0, "least warm-up", minimum=0.0),
    Option("warmup_max_s", "float", 120.0, "most warm-up", minimum=0.0),
    Option("warmup_requests", "int", 300, "most requests of the warm-up", minimum=1),
    Option(
        "steady",
        "share",
        0.02,
        "change between halves of the warm-up that counts as steady",
        minimum=0.0,
    ),
    Option(
        "gate_c",
        "float",
        2.0,
        "thermal gate: distance to the first block's start, in °C",
        minimum=0.0,
    ),
    Option("gate_c_per_10_s", "float", 0.5, "thermal gate: slope, in °C per 10 s", minimum=0.0),
    Option("gate_timeout_s", "float", 180.0, "most wait for the thermal gate", minimum=0.0),
    Option(
        "contended",
        "share",
        0.05,
        "other processes' share of one core that flags a block",
        minimum=0.0,
    ),
    Option("repeat_contended", "int", 1, "most repeats of a contended block", minimum=0),
    Option("turns", "bool", True, "cells of a group take turns, block by block"),
)

SAMPLER_OPTIONS: Final = (
    Option("energy_hz", "float", None, "rate of energy and power channels", minimum=0.1),
    Option("calibrate_s", "float", 3.0, "fast reads of the energy channels first", minimum=0.0),
    Option("slow_hz", "float", None, "rate of all other channels", minimum=0.1),
)

LIMIT_OPTIONS: Final = (
    Option("memory", "bytes", None, "resident memory at which a worker is killed", minimum=1),
    Option("open_s", "float", 300.0, "most time to load a model", minimum=0.1),
    Option("block_s", "float", 600.0, "most time of one block (a hang beyond it)", minimum=0.1),
    Option("cell_s", "float", None, "most time of one cell in all", minimum=0.1),
)

QUALITY_OPTIONS: Final = (
    Option("text", "file", "builtin:evaluation", "text whose perplexity each cell is judged by"),
    Option("tokens", "int", 2048, "tokens of it that are scored", minimum=16),
    Option("window", "int", 512, "tokens seen at once", minimum=8),
)

#: ``reference`` beside them is a pattern, no value: see :attr:`Agreement.reference`.
AGREEMENT_OPTIONS: Final = (
    Option("prompts", "file", "builtin:short", "file of prompts (.jsonl or a line each)"),
    Option("count", "int", 8, "prompts of it, from its start", minimum=1, maximum=256),
    Option("tokens", "int", 64, "tokens to write for each prompt", minimum=1, maximum=1024),
)

_SECTIONS: Final[dict[str, tuple[Option, ...]]] = {
    "protocol": PROTOCOL_OPTIONS,
    "sampler": SAMPLER_OPTIONS,
    "limits": LIMIT_OPTIONS,
    "quality": QUALITY_OPTIONS,
    "agreement": AGREEMENT_OPTIONS,
}
_NAMED_TABLES: Final = ("model", "backend", "technique", "workload", "probe")
#: The name becomes a part of the session folder's name.
_NAME: Final = re.compile(r"\w[\w.+-]{0,63}")
_TOP_KEYS: Final = ("version", "name", "description", *_SECTIONS, *_NAMED_TABLES, "include",
                    "exclude")  # fmt: skip

#: Gives the place of a key path in the profile, for an error.
Where = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Choice:
    """One named entry of an axis (``[backend.LABEL]``), its settings not yet checked.

    ``plugin`` is the plugin's name (for a model: its source), which is the label unless it is
    ``named``. A list as a value is an axis.
    """

    label: str
    plugin: str
    settings: Mapping[str, Any]
    devices: tuple[str, ...] = ()
    named: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One technique of a chain and its settings."""

    plugin: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of techniques; empty for the uncompressed model."""

    label: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The check that cells say the same as a reference.

    ``reference`` picks the reference's backend and settings, as ``[[include]]`` picks cells.
    """

    reference: Mapping[str, Any]
    prompts: str
    count: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile, its own keys checked. Plugins' settings are checked by the plan."""

    name: str
    description: str
    file: str
    folder: Path
    text: str
    overrides: tuple[str, ...]
    protocol: Mapping[str, OptionValue]
    sampler: Mapping[str, OptionValue]
    limits: Mapping[str, OptionValue]
    quality: Mapping[str, OptionValue] | None
    agreement: Agreement | None
    models: tuple[Choice, ...]
    backends: tuple[Choice, ...]
    techniques: tuple[Chain, ...]
    workloads: tuple[Choice, ...]
    probes: Mapping[str, Mapping[str, Any]]
    include: tuple[Mapping[str, Any], ...]
    exclude: tuple[Mapping[str, Any], ...]

    def where(self, *path: str) -> str:
        """File, line and key path, for an error."""
        return locate(self.file, self.text, path, self.overrides)


def find_profile(name: str, folders: Iterable[Path]) -> Path:
    """The file of a profile given as a path or as a shipped name."""
    direct = Path(name)
    if direct.suffix == ".toml" or "/" in name:
        if direct.is_file():
            return direct
        raise ProfileError("no such profile file", where=name)
    shipped = shipped_profiles(folders)
    if name in shipped:
        return shipped[name]
    raise ProfileError(
        f"unknown profile '{name}'",
        hint=unknown_name_hint(name, shipped) + "; or give the path of a .toml file",
    )


def shipped_profiles(folders: Iterable[Path]) -> dict[str, Path]:
    """Profiles by name; an earlier folder wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.toml")):
            found.setdefault(file.stem, file)
    return found


def read_profile(path: Path, overrides: Sequence[str] = ()) -> Profile:
    """Read a profile file and apply ``key.path=value`` overrides."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ProfileError("is not UTF-8 text", where=str(path)) from None
    return parse_profile(text, str(path), path.resolve().parent, overrides)


def parse_profile(text: str, file: str, folder: Path, overrides: Sequence[str] = ()) -> Profile:
    """Check the text of a profile. ``folder`` is what its relative paths start from."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"not valid TOML: {error}", where=file) from None
    for override in overrides:
        _apply_override(data, override)

    def where(*path: str) -> str:
        return locate(file, text, path, overrides)

    _check_top(data, where)
    sections = {
        name: complete(options, _section(data, name, where), partial(where, name))
        for name, options in _SECTIONS.items()
    }
    profile = Profile(
        name=str(data.get("name", Path(file).stem)),
        description=str(data.get("description", "")),
        file=file,
        folder=folder,
        text=text,
        overrides=tuple(overrides),
        protocol=sections["protocol"],
        sampler=sections["sampler"],
        limits=sections["limits"],
        quality=sections["quality"] if "quality" in data else None,
        agreement=_agreement(data, sections["agreement"], where) if "agreement" in data else None,
        models=_choices(data, "model", "source", where),
        backends=_choices(data, "backend", "plugin", where),
        techniques=_chains(data, where),
        workloads=_choices(data, "workload", "plugin", where),
        probes={
            name: _table(data, ("probe", name), where) for name in _table(data, ("probe",), where)
        },
        include=_patterns(data, "include", where),
        exclude=_patterns(data, "exclude", where),
    )
    _check_whole(profile)
    return profile


def _apply_override(data: dict[str, Any], override: str) -> None:
    path, equals, raw = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ProfileError(f"'{override}' is not key.path=value", where="--set")
    try:
        read = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        read = {"value": raw.strip()}  # a bare word is text: the shell has taken its quotes
    if read.keys() != {"value"}:
        raise ProfileError(f"{override!r} sets more than one key", where="--set")
    table = data
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ProfileError(f"'{key}' of '{path}' is not a table", where="--set")
    table[keys[-1]] = read["value"]


def _check_top(data: Mapping[str, Any], where: Where) -> None:
    for key in data:
        if key not in _TOP_KEYS:
            raise ProfileError(
                f"unknown key '{key}'", where=where(key), hint=unknown_name_hint(key, _TOP_KEYS)
            )
    version = data.get("version")
    if version is None:
        raise ProfileError(
            "has no version", where=where(), hint=f"add 'version = {PROFILE_VERSION}'"
        )
    if isinstance(version, bool) or version != PROFILE_VERSION:
        raise ProfileError(
            f"profile version {version!r}; this joulebench reads version {PROFILE_VERSION}",
            where=where("version"),
        )
    for key in ("name", "description"):
        if not isinstance(data.get(key, ""), str):
            raise ProfileError("must be text", where=where(key))
    if "name" in data and not _NAME.fullmatch(data["name"]):
        raise ProfileError(
            f"{data['name']!r} cannot be part of a folder's name", where=where("name"),
            hint="use letters, digits, and . + - _, starting with a letter or digit",
        )  # fmt: skip


def _table(data: Mapping[str, Any], path: tuple[str, ...], where: Where) -> dict[str, Any]:
    value: Any = data
    for key in path:
        value = value.get(key, {})
        if not isinstance(value, dict):
            raise ProfileError(
                "must be a table", where=where(*path), hint=f"write [{'.'.join(path)}]"
            )
    return dict(value)


def _section(data: Mapping[str, Any], name: str, where: Where) -> dict[str, Any]:
    """The values of a fixed section, without what is no option of it."""
    table = _table(data, (name,), where)
    if name == "agreement":
        table.pop("reference", None)
    return table


def _agreement(
    data: Mapping[str, Any], values: Mapping[str, OptionValue], where: Where
) -> Agreement:
    reference = _table(data, ("agreement", "reference"), where)
    if not reference:
        raise ProfileError(
            "names no reference", where=where("agreement"),
            hint='add reference = { backend = "NAME" }, with settings of it where it has several',
        )  # fmt: skip
    return Agreement(reference, str(values["prompts"]), int(values["count"]), int(values["tokens"]))


def _choices(
    data: Mapping[str, Any], kind: str, plugin_key: str, where: Where
) -> tuple[Choice, ...]:
    found: list[Choice] = []
    for label in _table(data, (kind,), where):
        settings = _table(data, (kind, label), where)
        named = plugin_key in settings
        plugin = settings.pop(plugin_key, label)
        if not isinstance(plugin, str):
            raise ProfileError("must be text", where=where(kind, label, plugin_key))
        devices: tuple[str, ...] = ()
        if kind == "backend":
            raw = settings.pop("device", [])
            listed = [raw] if isinstance(raw, str) else raw
            if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
                raise ProfileError("must be a device name or a list of them",
                                   where=where(kind, label, "device"))  # fmt: skip
            devices = tuple(listed)
        found.append(Choice(label, plugin, settings, devices, named))
    return tuple(found)


def _chains(data: Mapping[str, Any], where: Where) -> tuple[Chain, ...]:
    tables = _table(data, ("technique",), where)
    if not tables:
        return (Chain("none", ()),)
    chains: list[Chain] = []
    for label in tables:
        settings = _table(data, ("technique", label), where)
        if "steps" in settings:
            steps = settings.pop("steps")
            if settings:
                extra = next(iter(settings))
                raise ProfileError(f"'{extra}' cannot stand beside 'steps'",
                                   where=where("technique", label, extra))  # fmt: skip
            chains.append(Chain(label, _steps(steps, where("technique", label, "steps"))))
        elif label == "none" and not settings:
            chains.append(Chain("none", ()))
        else:
            name = settings.pop("name", label)
            if not isinstance(name, str):
                raise ProfileError("must be text", where=where("technique", label, "name"))
            chains.append(Chain(label, (Step(name, settings),)))
    return tuple(chains)


def _steps(raw: object, where: str) -> tuple[Step, ...]:
    if not isinstance(raw, list) or not all(
        isinstance(step, dict) and isinstance(step.get("name"), str) for step in raw
    ):
        raise ProfileError('must be a list of tables like {name = "…", …}', where=where)
    return tuple(
        Step(step["name"], {key: value for key, value in step.items() if key != "name"})
        for step in raw
    )


def _patterns(data: Mapping[str, Any], key: str, where: Where) -> tuple[Mapping[str, Any], ...]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ProfileError(f"must be tables, each written [[{key}]]", where=where(key))
    return tuple(value)


def _check_whole(profile: Profile) -> None:
    for kind, chosen in (("backend", profile.backends), ("workload", profile.workloads)):
        if not chosen:
            raise ProfileError(
                f"names no {kind}", where=profile.file, hint=f"add a table [{kind}.NAME]"
            )
    if profile.protocol["min_blocks"] > profile.protocol["max_blocks"]:  # type: ignore[operator]
        raise ProfileError("is more than max_blocks", where=profile.where("protocol", "min_blocks"))


def section_options() -> Mapping[str, tuple[Option, ...]]:
    """The options of each fixed section, for the schema and the documentation."""
    return _SECTIONS
