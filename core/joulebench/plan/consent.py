"""What a profile executes on this machine, and when that needs the user's consent."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from joulebench.api import Plugin
from joulebench.errors import ProfileError, UnknownPluginError
from joulebench.profile.reading import Profile
from joulebench.profile.values import parse_command
from joulebench.registry.loading import Registry


@dataclass(frozen=True, slots=True)
class Program:
    """A program that a profile names: the key's path, and the words of the command."""

    key: str
    words: str


def programs_of(profile: Profile, registry: Registry) -> list[Program]:
    """Every program and interpreter that planning or running the profile starts, each once."""
    return list(dict.fromkeys(_programs(profile, registry)))


def require_consent(profile: Profile, registry: Registry) -> None:
    """Refuse a profile that comes from somebody's session and names programs."""
    programs = programs_of(profile, registry)
    if programs:
        listed = "; ".join(f"{program.words} ({program.key})" for program in programs)
        raise ProfileError(
            f"comes with a session and would execute {listed}",
            where=profile.file,
            hint="read those programs; --trust executes them",
        )


def _programs(profile: Profile, registry: Registry) -> Iterator[Program]:
    for choice in profile.backends:
        if choice.python is not None:
            yield Program(f"backend.{choice.label}.python", choice.python)
        yield from _commands(registry, "backend", choice.plugin, f"backend.{choice.label}", choice.settings)
    for chain in profile.techniques:
        for step in chain.steps:
            if step.python is not None:
                yield Program(f"technique.{chain.label}.python", step.python)
            yield from _commands(registry, "technique", step.plugin, f"technique.{chain.label}", step.settings)
    for choice in profile.workloads:
        yield from _commands(registry, "workload", choice.plugin, f"workload.{choice.label}", choice.settings)
    for name, settings in profile.probes.items():
        yield from _commands(registry, "probe", name, f"probe.{name}", settings)


def _commands(registry: Registry, kind: str, name: str, key: str, settings: Mapping[str, Any]) -> Iterator[Program]:
    try:
        plugin: Plugin = registry.make(kind, name)
    except UnknownPluginError:
        return  # the plan refuses it with its place
    for option in plugin.options:
        value = settings.get(option.name)
        if option.type != "command" or value is None:
            continue
        several = isinstance(value, list) and bool(value) and isinstance(value[0], list)
        for command in value if several else [value]:
            yield Program(f"{key}.{option.name}", parse_command(command) or shlex.quote(str(command)))
