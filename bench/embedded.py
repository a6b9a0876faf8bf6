"""The embedded model as a backend takes it: fetched and converted as a run would do it."""

from __future__ import annotations

import sys
from pathlib import Path

from joulebench.api import Artifact
from joulebench.models.catalogue import obtain_model, read_catalogue
from joulebench.models.store import Store
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry

_PROFILE = """version = 1
[model.smollm2-135m-instruct]
[backend.{backend}]
{settings}
[workload.decode]
"""


def say(text: str) -> None:
    print(text, file=sys.stderr)


def embedded_artifact(backend: str, settings: dict[str, object]) -> Artifact:
    """The artifact for a backend with these settings."""
    lines = "\n".join(f"{key} = {_toml(value)}" for key, value in settings.items())
    text = _PROFILE.format(backend=backend, settings=lines)
    registry = default_registry()
    folders = registry.profile_dirs()
    catalogue = read_catalogue(folders)
    profile = parse_profile(text, "bench", Path.cwd(), ())
    plan = make_plan(profile, registry, catalogue, folders)
    (cell, *_) = plan.cells
    if cell.reason:
        sys.exit(f"{backend}: {cell.reason}")
    artifact = obtain_model(plan.models[cell.model], catalogue, profile.folder, say)
    store = Store()
    for step in cell.transforms:
        artifact = store.make(artifact, step, say).artifact
    return artifact


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
