"""What a plan is made of: cells with everything that a run needs to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from joulebench.api import Settings
from joulebench.environments.python import OtherPython
from joulebench.models.catalogue import ModelRef
from joulebench.models.making import Transform
from joulebench.models.shapes import ModelDepth

#: The device of a backend that is not installed, so that nobody knows what it offers.
ANY_DEVICE: Final = "any"


@dataclass(frozen=True, slots=True)
class RuntimeStep:
    """A runtime technique of a cell and its settings."""

    name: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class PreparedSession:
    """What a worker opens and does, settled once: checked, files and programs by their paths.

    ``settings`` are the backend's, with the options that runtime techniques set.
    """

    settings: Settings
    workload_settings: Settings = field(default_factory=dict)
    runtime_steps: tuple[RuntimeStep, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One combination, with everything that a run needs to know of it."""

    id: str
    label: str
    model: str
    model_source: str
    technique: str
    backend: str
    backend_plugin: str
    device: str
    backend_settings: Settings
    workload: str
    workload_plugin: str
    workload_settings: Settings
    unit: str
    transforms: tuple[Transform, ...]
    runtime_steps: tuple[RuntimeStep, ...]
    reason: str | None = None
    reason_kind: str | None = None
    #: What runs the worker, if not this interpreter.
    python: OtherPython | None = None
    #: What the worker gets; ``None`` for a cell that cannot run.
    prepared: PreparedSession | None = None
    #: What is done to the model's numbers on the way, and what the plan cannot know yet.
    notes: tuple[str, ...] = ()
    #: Settings of conversions, which a file that runs as it is does without: its label names none of them.
    unapplied: tuple[str, ...] = ()
    #: Of a model of random weights: how many layers of how many.
    depth: ModelDepth | None = None
    #: Why it is not known whether it can run; ``None`` where it is known.
    unknown: str | None = None

    @property
    def runnable(self) -> bool:
        """Whether nothing is known that keeps it from running."""
        return self.reason is None

    @property
    def settings(self) -> dict[str, object]:
        """Every setting, by part, as the session records it."""
        return {
            "backend": dict(self.backend_settings),
            "workload": dict(self.workload_settings),
            "transforms": [{"name": step.name, "settings": dict(step.settings)} for step in self.transforms],
            "runtime": [{"name": step.name, "settings": dict(step.settings)} for step in self.runtime_steps],
        }


@dataclass(frozen=True, slots=True)
class PlannedReference:
    """What the cells of a model are compared with: a backend running the uncompressed model."""

    label: str
    model: str
    backend: str
    backend_plugin: str
    device: str
    backend_settings: Settings
    transforms: tuple[Transform, ...] = ()
    reason: str | None = None
    python: OtherPython | None = None
    #: What the worker gets; ``None`` for a reference that cannot run.
    prepared: PreparedSession | None = None


@dataclass(frozen=True, slots=True)
class Duration:
    """A range of times, in seconds.

    The maximum of a plan is what the protocol's own limits allow (``time_budget_s``, ``max_blocks``,
    ``warmup_max_s``). Fetching, conversions and waits for the machine to cool come on top.
    """

    minimum_s: float
    maximum_s: float

    def __add__(self, other: Duration) -> Duration:
        return Duration(self.minimum_s + other.minimum_s, self.maximum_s + other.maximum_s)

    def times(self, count: int) -> Duration:
        """``count`` of them, one after another."""
        return Duration(count * self.minimum_s, count * self.maximum_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells of a profile, and how long the runnable ones take.

    ``references`` are what the agreement check compares each model's cells with, by the model.
    """

    profile: str
    cells: tuple[PlannedCell, ...]
    models: Mapping[str, ModelRef]
    duration: Duration
    references: Mapping[str, PlannedReference] = field(default_factory=dict)

    @property
    def runnable(self) -> tuple[PlannedCell, ...]:
        """Cells that can run."""
        return tuple(cell for cell in self.cells if cell.runnable)

    def to_json(self) -> dict[str, object]:
        """The plan as JSON values."""
        return {
            "profile": self.profile,
            "minimum_s": self.duration.minimum_s,
            "maximum_s": self.duration.maximum_s,
            "cells": [{**_plain(cell), "runnable": cell.runnable} for cell in self.cells],
            "references": [_plain(reference) for reference in self.references.values()],
        }


def _plain(planned: PlannedCell | PlannedReference) -> dict[str, object]:
    """As JSON values, without paths of this machine: a session is made to be shared."""
    values = asdict(planned)
    del values["prepared"]
    values["python"] = planned.python.title if planned.python else None
    for step, entry in zip(planned.transforms, values["transforms"], strict=True):
        entry["python"] = step.python.title if step.python else None
    return values
