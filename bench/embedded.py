"""The embedded model as a checkpoint folder, fetched and converted as a run would do it."""

from __future__ import annotations

import sys
from pathlib import Path

from joulebench.artifacts import Store
from joulebench.commands.common import load_profile
from joulebench.models import CHECKPOINT_FORMAT, obtain_model


def say(text: str) -> None:
    print(text, file=sys.stderr)


def embedded_checkpoint() -> Path:
    _, profile, catalogue, plan = load_profile("quick", ())
    cell = plan.cells[0]
    artifact = obtain_model(plan.models[cell.model], catalogue, profile.folder, say)
    store = Store()
    for step in cell.transforms:
        if artifact.format != CHECKPOINT_FORMAT:
            artifact = store.make(artifact, step, say).artifact
    return artifact.path
