"""Asks every installed probe what it can read here, with the profile's settings."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from joulebench.api import Availability, Channel, Probe, Settings
from joulebench.errors import ProfileError
from joulebench.meter.live.channels import with_rates
from joulebench.profile.reading import Profile
from joulebench.profile.values import complete
from joulebench.registry.loading import Registry

#: Most time for a probe to say what it can read; a driver that hangs is left out.
ANSWER_S: Final = 20.0


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
        return [each for each in self.channels if each.quantity in ("energy", "power")]

    def missing(self) -> dict[str, str]:
        """Reasons of the probes that cannot be read, by name."""
        return {
            each.name: each.availability.reason or "not available" for each in self.probes if not each.availability.ok
        }


def inspect_probes(registry: Registry, profile: Profile | None) -> Sensors:
    """Every installed probe. A probe that fails costs its own channels and nothing else.

    ``enabled = false`` in ``[probe.NAME]`` leaves a probe out.
    """
    states: list[ProbeState] = []
    for name in registry.names("probe"):
        settings = dict(profile.probes.get(name, {})) if profile is not None else {}
        states.append(_inspect(registry, name, settings, profile))
    states = _without_twins(states)
    channels = [channel for state in states for channel in state.channels]
    if profile is not None:
        channels = with_rates(channels, profile.sampling.energy_hz, profile.sampling.slow_hz)
    return Sensors(tuple(states), tuple(channels))


def _inspect(registry: Registry, name: str, given: dict[str, Any], profile: Profile | None) -> ProbeState:
    def where(key: str) -> str:
        return profile.where("probe", name, key) if profile is not None else f"probe.{name}.{key}"

    probe = registry.probe(name)
    if not any(option.name == "enabled" for option in probe.options):
        enabled = given.pop("enabled", True)
        if enabled is not True and enabled is not False:
            raise ProfileError("must be true or false", where=where("enabled"))
        if not enabled:
            return ProbeState(name, Availability.no("switched off in the profile"), ())
    settings = complete(probe.options, given, where)
    return _asked_in_time(name, probe, settings)


def _asked_in_time(name: str, probe: Probe, settings: Settings) -> ProbeState:
    """What the probe says; one that fails or never answers is left out and the run goes on."""
    said: list[ProbeState] = []

    def ask() -> None:
        try:
            availability = probe.inspect(settings)
            channels = tuple(probe.channels(settings)) if availability.ok else ()
            if not all(isinstance(each, Channel) for each in channels):
                raise TypeError("channels() must give Channel objects")
            said.append(ProbeState(name, availability, channels))
        except Exception as error:  # a plugin may raise anything
            reason = f"the probe failed: {type(error).__name__}: {error}"
            said.append(ProbeState(name, Availability.no(reason), ()))

    # A daemon: a driver that never answers must not keep the command from ending either.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    if said:
        return said[0]
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
