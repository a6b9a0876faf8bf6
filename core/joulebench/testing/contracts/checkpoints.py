"""Models for contracts: the tiny checkpoint, in any format that installed converters lead to."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from joulebench.api import Artifact, Converter, Settings
from joulebench.testing.contracts.base import not_here
from joulebench.testing.models import write_tiny_checkpoint

CHECKPOINT: Final = "hf"


@cache
def _workplace() -> Path:
    """A folder of this process, gone when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="joulebench-contract-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def new_folder() -> Path:
    """An empty folder that is there as long as this process."""
    return Path(tempfile.mkdtemp(dir=_workplace()))


@cache
def tiny_checkpoint() -> Path:
    """The tiny checkpoint, written once in a process."""
    return write_tiny_checkpoint(_workplace() / "tiny")


def as_artifact(format_: str, path: Path) -> Artifact:
    """An artifact with its hash."""
    from joulebench.models.store import hash_content

    digest, size = hash_content(path)
    return Artifact(format_, path, digest, size)


def config_of(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's ``config.json``."""
    from joulebench.checkpoint import read_config

    return read_config(checkpoint)


def in_format(checkpoint: Path, formats: Sequence[str], settings: Settings) -> Artifact:
    """The checkpoint in the first of these formats that converters lead to; skips if none does."""
    return _converted(checkpoint, tuple(formats), tuple(sorted(settings.items())))


@cache
def _converted(checkpoint: Path, formats: tuple[str, ...], settings: tuple[tuple[str, Any], ...]) -> Artifact:
    from joulebench.checkpoint import architecture_of
    from joulebench.plan.conversion import NoRouteError, route
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    converters: list[Converter] = [registry.converter(name) for name in registry.names("converter")]
    try:
        architecture = architecture_of(config_of(checkpoint))
        steps = route(converters, CHECKPOINT, formats, architecture, dict(settings))
    except NoRouteError as error:
        not_here(str(error))
    artifact = as_artifact(CHECKPOINT, checkpoint)
    for step in steps:
        output = new_folder()
        registry.converter(step.name).convert(artifact.path, output, step.settings)
        artifact = as_artifact(step.target, output)
    return artifact
