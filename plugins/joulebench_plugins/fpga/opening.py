"""From a checkpoint to an open session."""

from __future__ import annotations

from joulebench.api import Artifact, Settings
from joulebench.errors import ModelError
from joulebench_plugins.fpga.checkpoint import TrackedCheckpoint
from joulebench_plugins.fpga.configuration import set_up
from joulebench_plugins.fpga.model.llama import IntegerLlama
from joulebench_plugins.fpga.session import Checks, FpgaSession
from joulebench_plugins.fpga.shape import engine_shape
from joulebench_plugins.fpga.verification import Mode, verify
from joulebench_plugins.shared.llama.configuration import UnfitModelError


def open_session(artifact: Artifact, settings: Settings) -> FpgaSession:
    """Read, quantize and verify. ``settings`` are complete."""
    checkpoint = TrackedCheckpoint(artifact.path)
    try:
        shape = engine_shape(checkpoint.config)
    except UnfitModelError as error:
        raise ModelError(str(error), where=str(artifact.path)) from None
    setup = set_up(settings, shape)
    model = IntegerLlama(shape, checkpoint, setup.layout.group)
    modes: dict[str, Mode] = {"off": "off", "sampled": "sampled", "token": "token"}
    mode = modes[str(settings["verify"])]
    verified = verify(model, setup, mode, artifact.content_hash)
    return FpgaSession(model, setup, Checks(mode, verified))
