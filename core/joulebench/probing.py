"""Asks every installed probe what it can read here, with the profile's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joulebench.api import Availability, Channel
from joulebench.errors import PluginError, ProfileError
from joulebench.meter.channels import with_rates
from joulebench.profile import Profile
from joulebench.registry import Registry
from joulebench.settings import complete


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
            each.name: each.availability.reason or "not available"
            for each in self.probes
            if not each.availability.ok
        }


def inspect_probes(registry: Registry, profile: Profile | None) -> Sensors:
    """Every installed probe. A probe that fails costs its own channels and nothing else.

    ``enabled = false`` in ``[probe.NAME]`` leaves a probe out.
    """
    states: list[ProbeState] = []
    for name in registry.names("probe"):
        settings = dict(profile.probes.get(name, {})) if profile is not None else {}
        states.append(_inspect(registry, name, settings, profile))
    channels = [channel for state in states for channel in state.channels]
    if profile is not None:
        rates = profile.sampler
        channels = with_rates(channels, _rate(rates, "energy_hz"), _rate(rates, "slow_hz"))
    _check_unique(channels)
    return Sensors(tuple(states), tuple(channels))


def _rate(settings: Mapping[str, object], name: str) -> float | None:
    value = settings.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _inspect(
    registry: Registry, name: str, given: dict[str, Any], profile: Profile | None
) -> ProbeState:
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
    try:
        availability = probe.inspect(settings)
        channels = probe.channels(settings) if availability.ok else ()
    except Exception as error:  # a plugin may raise anything; the run goes on without it
        reason = f"the probe failed: {type(error).__name__}: {error}"
        return ProbeState(name, Availability.no(reason), ())
    return ProbeState(name, availability, tuple(channels))


def _check_unique(channels: list[Channel]) -> None:
    seen: set[str] = set()
    for channel in channels:
        if channel.path in seen:
            raise PluginError(f"two channels are called '{channel.path}'")
        seen.add(channel.path)
