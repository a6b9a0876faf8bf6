"""From a profile's name to its plan: what every command and the library begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from joulebench.models.catalogue import Catalogue, read_catalogue
from joulebench.plan.cells import Plan
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import Profile, read_profile
from joulebench.profile.shellpaths import from_shell
from joulebench.profile.shipped import find_profile
from joulebench.registry.loading import Registry, default_registry


@dataclass(frozen=True, slots=True)
class PlannedProfile:
    """A profile with its file, the registry and catalogue that it was read with, and its plan."""

    file: Path
    registry: Registry
    profile: Profile
    catalogue: Catalogue
    plan: Plan


def plan_profile(
    name: str, overrides: Sequence[str], consent: Callable[[Path, Profile, Registry], None] | None = None
) -> PlannedProfile:
    """Plan a shipped profile or a TOML file; paths in ``overrides`` are relative to the working folder.

    ``consent`` is asked before anything that the profile names is executed, and raises where it may not.
    """
    registry = default_registry()
    folders = registry.profile_dirs()
    file = find_profile(name, folders)
    profile = read_profile(file, from_shell(overrides, registry, file.resolve().parent), folders)
    if consent is not None:
        consent(file, profile, registry)
    catalogue = read_catalogue(folders)
    return PlannedProfile(file, registry, profile, catalogue, make_plan(profile, registry, catalogue, folders))
