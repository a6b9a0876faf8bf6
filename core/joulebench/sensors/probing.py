"""Asks every installed probe what it can read here, with the user's settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from joulebench.api import Availability, Channel, Probe, Settings
from joulebench.errors import ProfileError
from joulebench.meter.energy import is_accuracy_undeclared
from joulebench.meter.live.channels import with_rates
from joulebench.profile.reading import Profile, apply_override
from joulebench.profile.values import complete
from joulebench.registry.loading import Registry

#: Most time for a probe to say what it can read; a driver that hangs is left out.
ANSWER_S: Final = 20.0


def _plain_place(*path: str) -> str:
    return ".".join(path)


@dataclass(frozen=True, slots=True)
class ProbeChoices:
    """What a user has settled about probes: settings by name as they were written, and rates in Hz.

    ``where`` gives the place of a key path, for an error. Rates of ``None`` leave each channel its own.
    """

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    where: Callable[..., str] = _plain_place
    energy_hz: float | None = None
    slow_hz: float | None = None

    @classmethod
    def of_profile(cls, profile: Profile) -> ProbeChoices:
        """Those of ``[probe.NAME]`` and ``[sampler]``."""
        rates = profile.sampling
        return cls(profile.probes, profile.where, rates.energy_hz, rates.slow_hz)

    @classmethod
    def of_overrides(cls, overrides: Sequence[str]) -> ProbeChoices:
        """Those of ``--set probe.NAME.KEY=VALUE``; anything else there is an error."""
        tables: dict[str, Any] = {}
        for override in overrides:
            if not override.lstrip().startswith("probe."):
                raise ProfileError(
                    "only probes have settings here",
                    where=f"--set {override}",
                    hint="--set probe.NAME.KEY=VALUE; 'joulebench plugin list' names the probes",
                )
            apply_override(tables, override)
        settings = tables.get("probe", {})
        for name, values in settings.items():
            if not isinstance(values, dict):
                raise ProfileError("is not a table of settings", where=f"--set probe.{name}")
        return cls(settings, lambda *path: f"--set {'.'.join(path)}")


@dataclass(frozen=True, slots=True)
class ProbeState:
    """One probe, whether it can be read, and its channels."""

    name: str
    availability: Availability
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class Sensors:
    """All probes and all channels of this machine, in a fixed order."""

    probes: tuple[ProbeState, ...]
    channels: tuple[Channel, ...]

    def energy_and_power(self) -> list[Channel]:
        """Channels that yield joules."""
        return [channel for channel in self.channels if channel.quantity in ("energy", "power")]

    def missing(self) -> dict[str, str]:
        """Reasons of the probes that cannot be read, by name."""
        return {
            probe.name: probe.availability.reason or "not available"
            for probe in self.probes
            if not probe.availability.ok
        }


def inspect_probes(registry: Registry, choices: ProbeChoices | None = None) -> Sensors:
    """Every installed probe. A probe that fails costs its own channels and nothing else.

    ``enabled = false`` in a probe's settings leaves it out. Settings of a probe that is not
    installed are an error with the nearest name as its hint.
    """
    choices = ProbeChoices() if choices is None else choices
    for name in choices.settings:
        registry.probe(name)
    states = _without_twins([_inspect(registry, name, choices) for name in registry.names("probe")])
    channels = [channel for state in states for channel in state.channels]
    return Sensors(tuple(states), tuple(with_rates(channels, choices.energy_hz, choices.slow_hz)))


def _inspect(registry: Registry, name: str, choices: ProbeChoices) -> ProbeState:
    def where(key: str) -> str:
        return str(choices.where("probe", name, key))

    probe, settings = registry.probe(name), dict(choices.settings.get(name, {}))
    if not any(option.name == "enabled" for option in probe.options):
        enabled = settings.pop("enabled", True)
        if enabled is not True and enabled is not False:
            raise ProfileError("must be true or false", where=where("enabled"))
        if not enabled:
            return ProbeState(name, Availability.no("switched off by its settings"), ())
    return _asked_in_time(name, probe, complete(probe.options, settings, where))


def without_frozen(sensors: Sensors, frozen: Collection[int]) -> Sensors:
    """The sensors with frozen counters outside the total, and the total's others saying what it lacks."""
    if not frozen:
        return sensors
    channels = sensors.channels
    lost: dict[str, tuple[str, ...]] = {}
    for index in sorted(frozen):
        if channels[index].counted:
            kind = channels[index].provenance
            lost[kind] = (*lost.get(kind, ()), channels[index].domain)
    return replace(
        sensors,
        channels=tuple(
            _without(channel, index in frozen, lost.get(channel.provenance, ()))
            for index, channel in enumerate(channels)
        ),
    )


def _without(channel: Channel, frozen: bool, lost: tuple[str, ...]) -> Channel:
    if frozen:
        return replace(channel, counted=False, note=_joined(channel.note, "its counter does not change"))
    if not (lost and channel.counted and channel.quantity in ("energy", "power")):
        return channel
    note = _joined(channel.note, f"the total lacks {', '.join(lost)}, whose counter does not change")
    return replace(channel, note=note, total_lacks=(*channel.total_lacks, *lost))


def _with_accuracy_noted(channel: Channel) -> Channel:
    """The channel whose note says how far it may be off, by whatever its probe declares, or that it does not."""
    if is_accuracy_undeclared(channel):
        return replace(channel, note=_joined(channel.note, "no accuracy is declared"))
    return channel if channel.accuracy is None else replace(channel, note=_joined(channel.note, str(channel.accuracy)))


def _joined(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more


def _asked_in_time(name: str, probe: Probe, settings: Settings) -> ProbeState:
    """What the probe says; one that fails or never answers is left out and the run goes on."""
    states: list[ProbeState] = []

    def ask() -> None:
        try:
            availability = probe.inspect(settings)
            channels = tuple(probe.channels(settings)) if availability.ok else ()
            if not all(isinstance(channel, Channel) for channel in channels):
                raise TypeError("channels() must give Channel objects")
            channels = tuple(map(_with_accuracy_noted, channels))
            states.append(ProbeState(name, availability, channels))
        except Exception as error:  # a plugin may raise anything
            reason = f"the probe failed: {type(error).__name__}: {error}"
            states.append(ProbeState(name, Availability.no(reason), ()))

    # A daemon: a driver that never answers must not keep the command from ending either.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    if states:
        return states[0]
    return ProbeState(name, Availability.no(f"the probe gave no answer in {ANSWER_S:g} s"), ())


def _without_twins(states: Sequence[ProbeState]) -> list[ProbeState]:
    """The probes, less those that call a channel as another is called already."""
    seen: set[str] = set()
    kept: list[ProbeState] = []
    for state in states:
        paths = [channel.path for channel in state.channels]
        twin = next((path for path in paths if path in seen or paths.count(path) > 1), None)
        if twin is not None:
            reason = f"the probe failed: another channel is called '{twin}' as well"
            kept.append(ProbeState(state.name, Availability.no(reason), ()))
            continue
        seen.update(paths)
        kept.append(state)
    return kept
