"""What rules a cell out. The plan asks with what is known beforehand, the run when the model is here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from joulebench.api import ArtifactTechnique, Availability, Backend, RuntimeTechnique, Settings, Workload
from joulebench.checkpoint import architecture_of
from joulebench.errors import ProfileError
from joulebench.plan.cells import RuntimeStep
from joulebench.plan.conversion import with_cure
from joulebench.profile.values import check_value
from joulebench.registry.loading import Registry


class SkipCellError(Exception):
    """Why a combination cannot run."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


def require(availability: Availability) -> None:
    """Skip where something is not available, with the cure."""
    if not availability.ok:
        raise SkipCellError(with_cure(availability.reason, availability.cure), "unavailable")


def require_capabilities(
    backend: Backend, settings: Settings, askers: Mapping[str, str], config: Mapping[str, object] | None = None
) -> None:
    """Skip where the backend lacks a capability, or the model has none of it; ``askers`` says who asks for which."""
    abilities = backend.abilities(settings)
    able = backend.abilities_with(settings, config)
    for capability, asker in sorted(askers.items()):
        if capability not in abilities:
            raise SkipCellError(
                f"{asker} needs the capability '{capability}', which backend '{backend.name}' does not have",
                "capability",
            )
        if capability not in able:
            kind = architecture_of(config or {}) or "this model"
            raise SkipCellError(
                f"{asker} needs the capability '{capability}', which {kind} does not have on '{backend.name}': it can "
                f"{', '.join(sorted(able)) or 'nothing'}",
                "capability",
            )


def check_technique(technique: ArtifactTechnique, settings: Settings, config: Mapping[str, object] | None) -> None:
    """Skip where a technique's settings do not fit the model that it gets, as far as that is known."""
    fault = None if config is None else technique.check(settings, config)
    if fault:
        raise SkipCellError(f"{technique.name}: {fault}", "settings")


def check_backend(backend: Backend, device: str, settings: Settings, config: Mapping[str, object] | None) -> None:
    """Skip where a backend cannot run the model with these settings, as far as the model is known."""
    fault = None if config is None else backend.check(device, settings, config)
    if fault:
        raise SkipCellError(fault, "settings")


def check_context(workload: Workload, settings: Settings, config: Mapping[str, object] | None) -> None:
    """Skip where the workload needs more context than the model has, as far as that is known."""
    limit = None if config is None else config.get("max_position_embeddings")
    tokens = workload.tokens_needed(settings)
    if isinstance(limit, int) and tokens > limit:
        raise SkipCellError(f"the workload needs {tokens} tokens of context; the model has {limit}", "settings")


def session_settings(
    settings: Settings, backend: Backend, runtime: Iterable[RuntimeStep], registry: Registry
) -> Settings:
    """A backend's settings with those of its options that runtime techniques set.

    Raises :class:`SkipCellError` where the backend has no such option or not that value of it.
    """
    options = {option.name: option for option in backend.options}
    merged = dict(settings)
    for step in runtime:
        technique = registry.technique(step.name)
        if not isinstance(technique, RuntimeTechnique):
            continue
        for name, value in technique.session_options(step.settings).items():
            if name not in options:
                raise SkipCellError(
                    f"technique '{step.name}' sets '{name}', which backend '{backend.name}' does not have", "settings"
                )
            try:
                merged[name] = check_value(options[name], value, name)
            except ProfileError as error:
                raise SkipCellError(
                    f"technique '{step.name}' sets '{name}' for backend '{backend.name}': {error.what}", "settings"
                ) from None
    return merged
