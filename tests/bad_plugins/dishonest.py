"""Further lies, for the honesty checks: frozen and backward counters, no change, other tokens."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from bad_base import CountingBackend, CountingSession

from joulebench.api import (
    ArtifactTechnique,
    Availability,
    Backend,
    Channel,
    Probe,
    ReaderSource,
    Scalar,
    Settings,
    Technique,
)
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class _Counting(Probe):
    argument = ""

    def inspect(self, settings: Settings) -> Availability:
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        source = ReaderSource("bad_reader:Counter", self.argument)
        return (
            Channel(f"{self.name}/board", "energy", "J", "counter", source, 1e-6, "simulated", "board", rate_hz=20.0),
        )


class Frozen(_Counting):
    """A counter that never changes."""

    name, summary, argument = "frozen", "does not count", "frozen:5"


class Backward(_Counting):
    """A counter that goes back."""

    name, summary, argument = "backward", "counts back", "backward:5"


class TooMuch(_Counting):
    """A counter of microjoules that are read as joules a million times over."""

    name, summary, argument = "too-much", "counts too much", "plain:5000000"


class NoChange(ArtifactTechnique):
    """Copies the model and says that half of it is zero."""

    name, summary = "no-change", "does nothing"
    stage, accepts, produces = "checkpoint", "hf", "hf"  # type: ignore[assignment]

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        shutil.copytree(source, output, dirs_exist_ok=True)

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        return {"zero_fraction": 0.5}


class OtherSession(CountingSession):
    """Writes every other number, whatever its logits say."""

    def step(self) -> int:
        super().step()
        return super().step()


class OtherTokens(CountingBackend):
    """Opens that session."""

    name = "other-tokens"
    session = OtherSession


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    return [Frozen, Backward, TooMuch]


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    return [NoChange]


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [OtherTokens]
