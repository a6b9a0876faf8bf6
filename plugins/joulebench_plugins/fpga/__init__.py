"""FPGA: backend ``fpga``, a quantized llama on an engine in RTL that is simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The simulated engine."""
    from joulebench_plugins.fpga.backend import FpgaBackend

    return [FpgaBackend]


@hookimpl
def joulebench_commands() -> dict[str, click.Command]:
    """Resources and clock of the engine."""
    from joulebench_plugins.fpga.synthesis.command import synthesis

    return {"fpga-synthesis": synthesis}
