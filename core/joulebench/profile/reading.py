"""Profiles: what to measure, in strict and versioned TOML.

Everything a profile may say is declared as options (of the sections in
:mod:`joulebench.profile.sections`, or of the plugins it names), so that reading, checking, the JSON
schema for editors and the documentation come from one place.
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
from joulebench.profile.extending import KEY as EXTENDS
from joulebench.profile.extending import Base, extended
from joulebench.profile.measurement import MeasurementProtocol, QualityText, RunLimits, SamplingRates
from joulebench.profile.position import OVERRIDE, depth_of, line_of, locate
from joulebench.profile.presets import find_preset
from joulebench.profile.sections import SECTIONS
from joulebench.profile.values import complete, readable_file

PROFILE_VERSION: Final = 1

_NAMED_TABLES: Final = ("model", "backend", "technique", "workload", "probe")
#: The name becomes a part of the session folder's name.
_NAME: Final = re.compile(r"\w[\w.+-]{0,63}")
_TOP_KEYS: Final = ("version", EXTENDS, "name", "description", *SECTIONS, *_NAMED_TABLES, "include", "exclude")

#: Gives the place of a key path in the profile, for an error.
Where = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Choice:
    """One named entry of an axis (``[backend.LABEL]``), its settings not yet checked.

    ``plugin`` is the plugin's name (for a model: its source), which is the label unless it is
    ``named``. A list as a value is an axis. ``python`` names the interpreter that does its work.
    """

    label: str
    plugin: str
    settings: Mapping[str, Any]
    devices: tuple[str, ...] = ()
    named: bool = False
    python: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One technique of a chain, its settings, and the interpreter that is named for it."""

    plugin: str
    settings: Mapping[str, Any]
    python: str | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of techniques; empty for the uncompressed model."""

    label: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class AgreementCheck:
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
    measurement: MeasurementProtocol
    sampling: SamplingRates
    limits: RunLimits
    quality: QualityText | None
    agreement: AgreementCheck | None
    models: tuple[Choice, ...]
    backends: tuple[Choice, ...]
    techniques: tuple[Chain, ...]
    workloads: tuple[Choice, ...]
    probes: Mapping[str, Mapping[str, Any]]
    include: tuple[Mapping[str, Any], ...]
    exclude: tuple[Mapping[str, Any], ...]
    #: The profiles that it extends, the nearest first.
    bases: tuple[Base, ...] = ()

    def where(self, *path: str) -> str:
        """File, line and key path, for an error."""
        return _place(self.file, self.text, self.bases, path, self.overrides)

    def blamed(self, section: str, *keys: str) -> str:
        """The place of that one of these keys of a section that an override has set, else of the first."""
        places = [self.where(section, key) for key in keys]
        return next((place for place in places if place.startswith(OVERRIDE)), places[0])

    def inherited(self, key: str) -> str:
        """What to do about a table or list that comes from a profile that this one extends; else nothing."""
        if not self.bases or line_of(self.text, (key,)) is not None:
            return ""
        nothing = "[]" if key in ("include", "exclude") else "false"
        return f"; it is inherited: write {key} anew, or {key} = {nothing} to leave it out"

    def protocol_json(self) -> dict[str, object]:
        """The protocol as it is in force, for the session: the preset's name and all numbers."""
        protocol = self.measurement
        return {"preset": protocol.preset, "protocol": protocol.numbers(), "sampler": self.sampling.numbers()}


def read_profile(path: Path, overrides: Sequence[str] = (), profile_dirs: Iterable[Path] = ()) -> Profile:
    """Read a profile file and apply ``key.path=value`` overrides."""
    try:
        readable_file(path, str(path))
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ProfileError("is not UTF-8 text", where=str(path)) from None
    return parse_profile(text, str(path), path.resolve().parent, overrides, profile_dirs)


def parse_profile(
    text: str, file: str, folder: Path, overrides: Sequence[str] = (), profile_dirs: Iterable[Path] = ()
) -> Profile:
    """Check the text of a profile. ``folder`` is what its relative paths start from.

    ``profile_dirs`` are where a ``preset`` of the protocol is looked up.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of more digits than Python reads
        raise ProfileError(f"not valid TOML: {error}", where=file) from None
    folders = list(profile_dirs)
    _spell_out_preset(data)
    data, bases = extended(data, folders, locate(file, text, (EXTENDS,)))
    for override in overrides:
        apply_override(data, override)
        _spell_out_preset(data)
    if EXTENDS in data:
        raise ProfileError("is for profile files; name the profile itself", where=f"{OVERRIDE} {EXTENDS}")

    def where(*path: str) -> str:
        return _place(file, text, bases, path, overrides)

    _check_top(data, where)
    preset = _preset_values(data, folders, where)
    sections = {
        name: complete(options, {**preset.get(name, {}), **_section(data, name, where)}, partial(where, name))
        for name, options in SECTIONS.items()
    }
    profile = Profile(
        name=str(data.get("name", Path(file).stem)),
        description=str(data.get("description", "")),
        file=file,
        folder=folder,
        text=text,
        overrides=tuple(overrides),
        measurement=MeasurementProtocol.of(sections["protocol"]),
        sampling=SamplingRates.of(sections["sampler"]),
        limits=RunLimits.of(sections["limits"]),
        quality=QualityText.of(sections["quality"]) if "quality" in data else None,
        agreement=_agreement(data, sections["agreement"], where) if "agreement" in data else None,
        models=_choices(data, "model", "source", where),
        backends=_choices(data, "backend", "plugin", where),
        techniques=_chains(data, where),
        workloads=_choices(data, "workload", "plugin", where),
        probes={name: _table(data, ("probe", name), where) for name in _table(data, ("probe",), where)},
        include=_patterns(data, "include", where),
        exclude=_patterns(data, "exclude", where),
        bases=bases,
    )
    _check_whole(profile)
    return profile


def _place(file: str, text: str, bases: Sequence[Base], path: Sequence[str], overrides: Sequence[str]) -> str:
    """The place of a key: in the profile, or in the one of its bases that has more of its path."""
    sources = [Base(file, text), *bases]
    source = max(sources, key=lambda source: depth_of(source.text, path))
    return locate(source.file, source.text, path, overrides)


def _spell_out_preset(data: dict[str, Any]) -> None:
    """``protocol = "NAME"`` is short for the table that has this preset alone."""
    if isinstance(data.get("protocol"), str):
        data["protocol"] = {"preset": data["protocol"]}


def _preset_values(
    data: Mapping[str, Any], profile_dirs: Iterable[Path], where: Where
) -> Mapping[str, Mapping[str, Any]]:
    """What the protocol's preset says, by section; the profile's own values go before it."""
    name = _table(data, ("protocol",), where).get("preset")
    if not isinstance(name, str):
        return {}  # none, or a fault that the section's own check names
    return find_preset(name, profile_dirs, where("protocol", "preset")).sections


def apply_override(data: dict[str, Any], override: str) -> None:
    """Put ``key.path=value`` (TOML syntax, or a bare word) into nested tables."""
    path, equals, raw = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ProfileError(f"'{override}' is not key.path=value", where=OVERRIDE)
    try:
        read = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):
        read = {"value": raw.strip()}  # a bare word is text: the shell has taken its quotes
    if read.keys() != {"value"}:
        raise ProfileError(f"{override!r} sets more than one key", where=OVERRIDE)
    table = data
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ProfileError(f"'{key}' of '{path}' is not a table", where=OVERRIDE)
    table[keys[-1]] = read["value"]


def _check_top(data: Mapping[str, Any], where: Where) -> None:
    for key in data:
        if key not in _TOP_KEYS:
            raise ProfileError(f"unknown key '{key}'", where=where(key), hint=unknown_name_hint(key, _TOP_KEYS))
    version = data.get("version")
    if version is None:
        raise ProfileError("has no version", where=where(), hint=f"add 'version = {PROFILE_VERSION}'")
    if isinstance(version, bool) or version != PROFILE_VERSION:
        raise ProfileError(
            f"profile version {version!r}; this joulebench reads version {PROFILE_VERSION}", where=where("version")
        )
    for key in ("name", "description"):
        if not isinstance(data.get(key, ""), str):
            raise ProfileError("must be text", where=where(key))
    if "name" in data:
        checked_name(data["name"], where("name"))


def checked_name(name: str, where: str) -> str:
    """A name that may become part of a session folder's name."""
    if not _NAME.fullmatch(name):
        raise ProfileError(
            f"{name!r} cannot be part of a folder's name",
            where=where,
            hint="use letters, digits, and . + - _, starting with a letter or digit",
        )
    return name


def _table(data: Mapping[str, Any], path: tuple[str, ...], where: Where) -> dict[str, Any]:
    value: Any = data
    for key in path:
        value = value.get(key, {})
        if not isinstance(value, dict):
            raise ProfileError("must be a table", where=where(*path), hint=f"write [{'.'.join(path)}]")
    return dict(value)


def _section(data: Mapping[str, Any], name: str, where: Where) -> dict[str, Any]:
    """The values of a fixed section, without what is no option of it."""
    table = _table(data, (name,), where)
    if name == "agreement":
        table.pop("reference", None)
    return table


def _agreement(data: Mapping[str, Any], values: Mapping[str, OptionValue], where: Where) -> AgreementCheck:
    reference = _table(data, ("agreement", "reference"), where)
    if not reference:
        raise ProfileError(
            "names no reference",
            where=where("agreement"),
            hint='add reference = { backend = "NAME" }, with settings of it where it has several',
        )
    return AgreementCheck(reference, str(values["prompts"]), int(values["count"]), int(values["tokens"]))


def _choices(data: Mapping[str, Any], kind: str, plugin_key: str, where: Where) -> tuple[Choice, ...]:
    choices: list[Choice] = []
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
            if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
                raise ProfileError("must be a device name or a list of them", where=where(kind, label, "device"))
            devices = tuple(listed)
        python = _python(settings, where(kind, label, "python")) if kind == "backend" else None
        choices.append(Choice(label, plugin, settings, devices, named, python))
    return tuple(choices)


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
                raise ProfileError(f"'{extra}' cannot be combined with 'steps'", where=where("technique", label, extra))
            chains.append(Chain(label, _steps(steps, where("technique", label, "steps"))))
        elif label == "none" and not settings:
            chains.append(Chain("none", ()))
        else:
            name = settings.pop("name", label)
            if not isinstance(name, str):
                raise ProfileError("must be text", where=where("technique", label, "name"))
            python = _python(settings, where("technique", label, "python"))
            chains.append(Chain(label, (Step(name, settings, python),)))
    return tuple(chains)


def _steps(raw: object, where: str) -> tuple[Step, ...]:
    if not isinstance(raw, list) or not all(
        isinstance(step, dict) and isinstance(step.get("name"), str) for step in raw
    ):
        raise ProfileError('must be a list of tables like {name = "…", …}', where=where)
    steps: list[Step] = []
    for step in raw:
        settings = {key: value for key, value in step.items() if key != "name"}
        python = _python(settings, where)
        steps.append(Step(step["name"], settings, python))
    return tuple(steps)


def _python(settings: dict[str, Any], where: str) -> str | None:
    """The interpreter that settings name, taken out of them."""
    value = settings.pop("python", None)
    if value is not None and (not isinstance(value, str) or not value):
        raise ProfileError("must be the path of an interpreter", where=where)
    return value


def _patterns(data: Mapping[str, Any], key: str, where: Where) -> tuple[Mapping[str, Any], ...]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ProfileError(f"must be tables, each written [[{key}]]", where=where(key))
    return tuple(value)


def _check_whole(profile: Profile) -> None:
    for kind, chosen in (("backend", profile.backends), ("workload", profile.workloads)):
        if not chosen:
            raise ProfileError(f"names no {kind}", where=profile.file, hint=f"add a table [{kind}.NAME]")
    rule = profile.measurement.stopping
    if rule.min_blocks > rule.max_blocks:
        raise ProfileError(
            f"min_blocks = {rule.min_blocks} is more than max_blocks = {rule.max_blocks}",
            where=profile.blamed("protocol", "min_blocks", "max_blocks"),
            hint="change both: --set protocol.min_blocks=N --set protocol.max_blocks=N",
        )
    _check_margins(profile)


def _check_margins(profile: Profile) -> None:
    """What counts lies within what is waited, and belongs to one request."""
    margins = profile.measurement.margins
    sides = {
        "before": (margins.counted_before_s, margins.before_s),
        "after": (margins.counted_after_s, margins.after_s),
    }
    for side, (counted, whole) in sides.items():
        if counted > whole:
            raise ProfileError(
                f"{counted:g} s are more than the margin's {whole:g} s",
                where=profile.blamed("protocol", f"counted_{side}_s", f"margin_{side}_s"),
                hint=f"raise margin_{side}_s",
            )
        if counted and profile.measurement.requests_per_block != 1:
            raise ProfileError(
                "idle time that counts belongs to one request",
                where=profile.blamed("protocol", f"counted_{side}_s", "requests_per_block"),
                hint="set requests_per_block = 1",
            )


def section_options() -> Mapping[str, tuple[Option, ...]]:
    """The options of each fixed section, for the schema and the documentation."""
    return SECTIONS
