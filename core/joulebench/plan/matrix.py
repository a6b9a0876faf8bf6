"""Every combination of a profile's axes, and which of them include and exclude leave."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulebench.api import Backend, OptionValue, Plugin, Settings, Workload
from joulebench.environments.asking import Place
from joulebench.errors import ProfileError, unknown_name_hint
from joulebench.models.shapes import with_layers
from joulebench.profile.reading import Chain, Choice, Profile
from joulebench.profile.values import complete

#: Most values of an axis, and most combinations before include and exclude: more take years to run.
MOST_VALUES: Final = 1000
MOST_CELLS: Final = 10_000


@dataclass(frozen=True, slots=True)
class BackendVariant:
    """A backend of the profile on one device with one value for every setting.

    ``place`` is where its worker runs, and what the backend says of itself there.
    """

    label: str
    backend: Backend
    device: str
    settings: Settings
    place: Place

    def facts(self) -> dict[str, tuple[OptionValue, ...]]:
        """What a pattern that picks a backend can name."""
        settings = {key: (value,) for key, value in self.settings.items()}
        return {**settings, "backend": (self.label,), "device": (self.device,)}


@dataclass(frozen=True, slots=True)
class WorkloadVariant:
    """A workload of the profile with one value for every setting."""

    label: str
    workload: Workload
    settings: Settings


@dataclass(frozen=True, slots=True)
class Combination:
    """One point of the matrix."""

    model: str
    chain: Chain
    backend: BackendVariant
    workload: WorkloadVariant

    def facts(self) -> dict[str, tuple[OptionValue, ...]]:
        """What a pattern can name: axes, and settings (which backend and workload may share)."""
        facts: dict[str, tuple[OptionValue, ...]] = {}
        for settings in (self.backend.settings, self.workload.settings):
            for key, value in settings.items():
                facts[key] = (*facts.get(key, ()), value)
        return facts | {
            "model": (self.model,),
            "technique": (self.chain.label,),
            "backend": (self.backend.label,),
            "device": (self.backend.device,),
            "workload": (self.workload.label,),
        }


def model_variants(profile: Profile, choice: Choice) -> Iterator[tuple[str, str]]:
    """Label and source of one entry of ``[model.…]`` with each of its numbers of layers."""
    path = ("model", choice.label)
    for key in choice.settings:
        if key != "layers":
            known = unknown_name_hint(key, ["source", "layers"])
            raise ProfileError(f"unknown key '{key}'", where=profile.where(*path, key), hint=known)
    if "layers" not in choice.settings:
        yield choice.label, choice.plugin
        return
    where = profile.where(*path, "layers")
    if not choice.plugin.startswith("shape:"):
        raise ProfileError(
            "only a shape, whose weights are random, can have another number of layers",
            where=where,
            hint='source = "shape:NAME"; joulebench models list names them',
        )
    listed = choice.settings["layers"]
    numbers = listed if isinstance(listed, list) else [listed]
    if not numbers or not all(type(number) is int and number > 0 for number in numbers):
        raise ProfileError("must be a number of layers or a list of them, such as [8, 16]", where=where)
    if len(set(numbers)) < len(numbers):
        raise ProfileError("names one value twice", where=where)
    for number in numbers:
        yield f"{choice.label} layers={number}", with_layers(choice.plugin, number)


def backend_variants(
    profile: Profile, choice: Choice, backend: Backend, devices: Iterable[str], place: Place
) -> Iterator[BackendVariant]:
    """One entry of ``[backend.…]`` on each device with each of its settings."""
    for device in devices:
        for settings in expand(profile, "backend", choice, backend):
            yield BackendVariant(choice.label, backend, device, settings, place)


def workload_variants(profile: Profile, choice: Choice, workload: Workload) -> Iterator[WorkloadVariant]:
    """One entry of ``[workload.…]`` with each of its settings."""
    for settings in expand(profile, "workload", choice, workload):
        yield WorkloadVariant(choice.label, workload, settings)


def expand(profile: Profile, kind: str, choice: Choice, plugin: Plugin) -> Iterator[dict[str, OptionValue]]:
    """All settings of one entry: every list of values is an axis."""

    def where(key: str) -> str:
        return profile.where(kind, choice.label, key)

    commands = {option.name for option in plugin.options if option.type == "command"}
    axes = {key: value if _is_axis(value, key in commands) else [value] for key, value in choice.settings.items()}
    for key, listed in axes.items():
        if len(listed) > MOST_VALUES:
            raise ProfileError(f"has {len(listed):,} values; at most {MOST_VALUES:,}", where=where(key))
        if not listed:
            raise ProfileError("is an empty list", where=where(key), hint="give a value, or leave the key out")
        if any(value in listed[:place] for place, value in enumerate(listed)):
            raise ProfileError("names one value twice", where=where(key))
    check_size(profile, math.prod(map(len, axes.values())))
    for values in itertools.product(*axes.values()):
        yield complete(plugin.options, dict(zip(axes, values, strict=True)), where)


def check_size(profile: Profile, combinations: int) -> None:
    """Refuse a matrix that nobody could run, before it is made."""
    if combinations > MOST_CELLS:
        raise ProfileError(
            f"asks for {combinations:,} combinations; at most {MOST_CELLS:,}",
            where=profile.file,
            hint="shorten a list of values, or split the profile",
        )


def _is_axis(value: object, of_commands: bool) -> bool:
    """A list of values; of commands, which are lists of words themselves, a list of lists."""
    if not isinstance(value, list):
        return False
    return not of_commands or bool(value and isinstance(value[0], list))


def combine(
    models: Sequence[str],
    chains: Sequence[Chain],
    backends: Sequence[BackendVariant],
    workloads: Sequence[WorkloadVariant],
) -> list[Combination]:
    """The whole matrix, models outermost and workloads innermost."""
    return [Combination(*point) for point in itertools.product(models, chains, backends, workloads)]


def select(profile: Profile, combinations: Sequence[Combination]) -> list[Combination]:
    """What is left by ``[[include]]`` (any pattern, if there is one) and ``[[exclude]]`` (none).

    A pattern matches where each of its keys does; a list is any of its values. A key or a value
    that no combination has is a mistake, but for devices, which differ between machines.
    """
    facts = [combination.facts() for combination in combinations]
    known = _known(facts)
    for name, patterns in (("include", profile.include), ("exclude", profile.exclude)):
        for pattern in patterns:
            _check_pattern(profile, (name,), pattern, known)
    kept = [
        combination
        for combination, own in zip(combinations, facts, strict=True)
        if (not profile.include or any(_matches(pattern, own) for pattern in profile.include))
        and not any(_matches(pattern, own) for pattern in profile.exclude)
    ]
    if not kept:
        raise ProfileError(
            "include and exclude leave no cell",
            where=profile.file,
            hint="every combination is excluded; loosen [[include]] or [[exclude]]",
        )
    return kept


def select_backends(
    profile: Profile, pattern: Mapping[str, object], *path: str, variants: Sequence[BackendVariant]
) -> list[BackendVariant]:
    """The backends of a profile that a pattern matches, which stands at ``path``.

    A device that this machine lacks is kept, for the planner to say so.
    """
    _check_pattern(profile, path, pattern, _known(variant.facts() for variant in variants))
    selected = [variant for variant in variants if _matches(pattern, variant.facts())]
    if not selected and "device" in pattern:
        rest = {key: value for key, value in pattern.items() if key != "device"}
        device = str(_as_list(pattern["device"])[0])
        selected = [replace(variant, device=device) for variant in variants if _matches(rest, variant.facts())]
    if not selected:
        raise ProfileError(
            "matches no backend of the profile with all of its keys",
            where=profile.where(*path),
            hint="each key fits some backend, but no backend has all of them",
        )
    return selected


def _known(facts: Iterable[Mapping[str, Iterable[OptionValue]]]) -> dict[str, list[OptionValue]]:
    """Every key that a pattern can name, and every value that it has."""
    known: dict[str, list[OptionValue]] = {}
    for fact in facts:
        for key, values in fact.items():
            known.setdefault(key, []).extend(values)
    return known


def _check_pattern(
    profile: Profile, path: tuple[str, ...], pattern: Mapping[str, object], known: Mapping[str, Sequence[OptionValue]]
) -> None:
    for key, wanted in pattern.items():
        if key not in known:
            raise ProfileError(
                f"unknown key '{key}'",
                where=profile.where(*path, key),
                hint=unknown_name_hint(key, known) + profile.inherited(path[0]),
            )
        if key == "device":
            continue
        for value in _as_list(wanted):
            if value not in known[key]:
                raise ProfileError(
                    f"{value!r} is not a value of '{key}' in this profile",
                    where=profile.where(*path, key),
                    hint=unknown_name_hint(str(value), {str(value) for value in known[key]})
                    + profile.inherited(path[0]),
                )


def _matches(pattern: Mapping[str, object], facts: Mapping[str, tuple[OptionValue, ...]]) -> bool:
    return all(any(value in _as_list(wanted) for value in facts.get(key, ())) for key, wanted in pattern.items())


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
