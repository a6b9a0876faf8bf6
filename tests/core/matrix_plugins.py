"""Small plugins of every kind that the planner deals with, and a registry that holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from joulebench.api import (
    ArtifactTechnique,
    Availability,
    Backend,
    Converter,
    Device,
    Option,
    Plugin,
    RuntimeTechnique,
    Workload,
)
from joulebench.hookspecs import hookimpl
from joulebench.models.catalogue import Catalogue
from joulebench.models.shapes import Shape
from joulebench.plan.cells import Plan
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import Registry

CONFIG: Mapping[str, Any] = {"architectures": ["Tiny"], "max_position_embeddings": 100}
CATALOGUE = Catalogue({}, {"tiny": Shape("tiny", "", CONFIG)}, {})


def backend(
    name: str,
    accepts: Sequence[str] = ("hf",),
    devices: Sequence[str] = ("cpu",),
    capabilities: Sequence[str] = ("generate",),
    missing: Availability | None = None,
) -> type[Backend]:
    """A backend class that declares this and can open nothing."""

    class Made(Backend):
        options = (
            Option("threads", "int", None, "", minimum=1),
            Option("dtype", "str", "float32", "", choices=("float32", "int8")),
            Option("bits", "int", None, "", choices=(8, 4, 2)),
        )

        def available(self) -> Availability:
            return missing or Availability.yes()

        def devices(self) -> tuple[Device, ...]:
            return tuple(Device(device) for device in devices)

        def open(self, artifact: Any, device: str, settings: Any) -> Any:
            raise NotImplementedError

    Made.name, Made.accepts = name, tuple(accepts)
    Made.capabilities = frozenset(capabilities)
    return Made


def converter(
    name: str, source: str, target: str, fault: str | None = None, missing: str | None = None
) -> type[Converter]:
    """A converter class between two formats."""

    class Made(Converter):
        def available(self) -> Availability:
            return Availability.no(missing, "the cure") if missing else Availability.yes()

        def supports(self, architecture: str | None) -> str | None:
            return fault

        def convert(self, source: Path, output: Path, settings: Any) -> None:
            raise NotImplementedError

    Made.name, Made.source, Made.target = name, source, target
    return Made


def technique(name: str, accepts: str = "hf", produces: str = "hf") -> type[ArtifactTechnique]:
    """An artifact technique class with the settings ``share`` and ``text``."""

    class Made(ArtifactTechnique):
        stage: Literal["checkpoint", "artifact"] = "checkpoint" if produces == "hf" else "artifact"
        options = (Option("share", "share", 0.5, "", maximum=0.9), Option("text", "file", None, ""))

        def check(self, settings: Any, config: Mapping[str, object]) -> str | None:
            return "too little is left" if settings["share"] > 0.8 else None

        def apply(self, source: Path, output: Path, settings: Any) -> None:
            raise NotImplementedError

        def evidence(self, before: Path, after: Path, settings: Any) -> dict[str, Any]:
            return {}

    Made.name, Made.accepts, Made.produces = name, accepts, produces
    return Made


class SmallCache(RuntimeTechnique):
    """A runtime technique that needs a capability."""

    name = "small-cache"
    requires = frozenset({"kv.quantized"})
    options = (Option("bits", "int", 4, ""),)

    def session_options(self, settings: Any) -> Any:
        return settings

    def evidence(self, session: Any, settings: Any) -> dict[str, Any]:
        return {}


def workload(name: str, requires: Sequence[str] = ("generate",)) -> type[Workload]:
    """A workload class that needs ``length`` tokens of context."""

    class Made(Workload):
        unit = "token"
        options = (Option("length", "int", 10, "", minimum=1), Option("text", "file", None, ""))

        def tokens_needed(self, settings: Any) -> int:
            return int(settings["length"])

        def check(self, settings: Any) -> str | None:
            return "13 is unlucky" if settings["length"] == 13 else None

        def requests(self, context: Any, settings: Any) -> Any:
            raise NotImplementedError

        def perform(self, session: Any, request: Any, settings: Any, record: Any) -> Any:
            raise NotImplementedError

    Made.name, Made.requires = name, frozenset(requires)
    return Made


def plugin(**hooks: Any) -> SimpleNamespace:
    """A plugin object; each value is what the hook ``joulebench_<key>`` returns (or does)."""
    made = SimpleNamespace(JOULEBENCH_API=1)
    for key, value in hooks.items():
        action: Callable[[], Any] = value if _is_function(value) else lambda value=value: value
        setattr(made, f"joulebench_{key}", hookimpl(action))
    return made


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, type)


_HOOKS = {
    Backend: "backends",
    Converter: "converters",
    ArtifactTechnique: "techniques",
    RuntimeTechnique: "techniques",
    Workload: "workloads",
}


def registry_of(*classes: type[Plugin]) -> Registry:
    """A registry with these classes, a workload ``work`` and a way from a shape to ``hf``."""
    hooks: dict[str, list[type[Plugin]]] = {}
    for item in (*classes, workload("work"), converter("init", "shape", "hf")):
        kind = next(hook for base, hook in _HOOKS.items() if issubclass(item, base))
        hooks.setdefault(kind, []).append(item)
    registry = Registry()
    registry.add(plugin(**hooks), "fakes", "fakes-dist", "1")
    return registry


def plan_of(body: str, *classes: type[Plugin], overrides: Sequence[str] = ()) -> Plan:
    """The plan of ``body`` (without version and model) over the shape ``tiny``."""
    text = f'version = 1\n[model.m]\nsource = "shape:tiny"\n{body}'
    profile = parse_profile(text, "p.toml", Path("/"), overrides)
    return make_plan(profile, registry_of(*classes), CATALOGUE, [])
