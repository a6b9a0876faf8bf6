"""How a published model can be measured on this machine: by weights, by shape, extrapolated, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from joulebench.api import Backend, Converter
from joulebench.checkpoint import architecture_of, read_config
from joulebench.errors import ModelError
from joulebench.models.catalogue import CHECKPOINT_FORMAT, Catalogue
from joulebench.models.hubcache import HubModel
from joulebench.models.published import PublishedModel
from joulebench.plan.conversion import NoRouteError, route
from joulebench.plan.modelnotes import MOST, ROOM, machine_memory_bytes
from joulebench.registry.availability import devices_of
from joulebench.registry.loading import Registry

Way = Literal["weights", "shape", "extrapolated", "not here"]
#: The branch under which a hub's client keeps what it has fetched without a revision.
_BRANCH: Final = "main"
#: The device of a backend that simulates its hardware.
_SIMULATED: Final = "simulated"
#: The shipped profile that takes any model.
_PROFILE: Final = "one"


@dataclass(frozen=True, slots=True)
class Feasibility:
    """How a published model is measured here; ``why`` says why not better, ``command`` what measures it.

    ``faults`` are what the other runtimes say.
    """

    way: Way
    why: str
    command: str | None = None
    runtimes: tuple[str, ...] = ()
    layers: tuple[int, int] | None = None
    faults: tuple[str, ...] = ()


class FeasibilityJudge:
    """Judges models by what is installed here and by this machine's memory."""

    def __init__(self, registry: Registry, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._converters = [registry.converter(name) for name in registry.names("converter")]
        self._backends = _available(registry)
        self._memory_bytes = machine_memory_bytes()

    def judge(self, model: PublishedModel) -> Feasibility:
        """How a model is measured here, by what is known without network."""
        shape = self._catalogue.shapes.get(model.shape or "")
        runtimes, faults = ((), ()) if shape is None else self._runtimes(shape.config)
        if source := self._weights(model):
            why = f"its weights are here: {source}"
            return Feasibility("weights", why, command_for(source), runtimes, faults=faults)
        lacking = _without_weights(model)
        if shape is None:
            return Feasibility("not here", f"{lacking}; no shape: {model.without_shape}")
        if not runtimes:
            name = architecture_of(shape.config) or "a shape without architecture"
            why = f"{lacking}; no runtime that is installed takes {name} ('joulebench models show {model.name}')"
            return Feasibility("not here", why, faults=faults)
        size_bytes = shape.size_bytes
        if size_bytes is None or size_bytes <= MOST * self._memory_bytes:
            return Feasibility("shape", lacking, command_for(f"shape:{shape.name}"), runtimes, faults=faults)
        large = f"{size_bytes / 1e9:,.0f} GB of weights, {self._memory_bytes / 1e9:,.0f} GB of memory"
        depths = shape.depths(ROOM * self._memory_bytes)
        if depths is None:
            return Feasibility("not here", f"{large}, in which two layers leave no room", None, runtimes, faults=faults)
        command = command_for(f"shape:{shape.name}", depths)
        return Feasibility("extrapolated", large, command, runtimes, depths, faults)

    def _weights(self, model: PublishedModel) -> str | None:
        """The source by which a model is run that a client of the hub has fetched."""
        if model.hub is None:
            return None
        source = f"hf:{model.hub}@{_BRANCH}"
        folder = HubModel.parse(source).path
        if folder is None:
            return None
        try:
            read_config(folder)
        except ModelError:  # asks for code of its own, or is damaged
            return None
        return source

    def _runtimes(self, config: Mapping[str, object]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the backends that take a model of this config, and what the others say."""
        names: list[str] = []
        faults: list[str] = []
        for backend, device in self._backends:
            fault = _fault(backend, device, config, self._converters)
            if fault is None:
                names.append(backend.name)
            else:
                faults.append(f"{backend.name}: {fault}")
        return tuple(names), tuple(dict.fromkeys(faults))


def command_for(source: str, layers: tuple[int, int] | None = None) -> str:
    """The command that measures a model."""
    command = f"joulebench run {_PROFILE} --set model.it.source={source}"
    return command if layers is None else f"{command} --set 'model.it.layers=[{layers[0]}, {layers[1]}]'"


def _without_weights(model: PublishedModel) -> str:
    if model.hub is None:
        return "its weights are on no hub"
    if model.remote_code:
        return "its checkpoint asks for code of its own, which is never run"
    gated = ", which is gated" if model.gated else ""
    return f"not fetched: {model.hub}{gated}"


def _available(registry: Registry) -> list[tuple[Backend, str]]:
    """Backends that can run on this very machine, each with its first device that is here."""
    usable: list[tuple[Backend, str]] = []
    for name in registry.names("backend"):
        backend = registry.backend(name)
        availability, devices = devices_of(backend)
        present = [device for device in devices if device != _SIMULATED]
        if availability.ok and present:
            usable.append((backend, present[0]))
    return usable


def _fault(backend: Backend, device: str, config: Mapping[str, object], converters: Sequence[Converter]) -> str | None:
    """Why a backend does not run a checkpoint of this config, converted if need be, or ``None``."""
    settings = backend.default_settings()
    architecture = architecture_of(config)
    try:
        route(converters, CHECKPOINT_FORMAT, backend.formats(settings), architecture)
        route(converters, "shape", (CHECKPOINT_FORMAT,), architecture)
    except NoRouteError as error:
        return str(error)
    return backend.check(device, settings, config)
