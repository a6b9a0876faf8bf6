"""From a profile to cells: every combination, runnable or skipped with its reason.

The planner knows formats and capabilities, never names: a backend says which artifact formats it
takes, converters say what they turn into what, and the planner finds the chain.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from joulebench.api import (
    ArtifactTechnique,
    Backend,
    Converter,
    OptionValue,
    Plugin,
    RuntimeTechnique,
    Settings,
    Workload,
)
from joulebench.artifacts import Transform
from joulebench.errors import ProfileError, unknown_name_hint
from joulebench.models import (
    CHECKPOINT_FORMAT,
    Catalogue,
    ModelRef,
    resolve_model,
    resolve_text,
)
from joulebench.profile import Choice, Profile, Step
from joulebench.registry import Registry
from joulebench.settings import complete, readable_file

#: What a plan assumes of a load, in seconds, for its estimate of the time.
ASSUMED_LOAD_S: Final = 8.0


@dataclass(frozen=True, slots=True)
class RuntimeStep:
    """A runtime technique of a cell and its settings."""

    name: str
    settings: Settings


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

    @property
    def runnable(self) -> bool:
        """Whether nothing is known that keeps it from running."""
        return self.reason is None

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting, by part, as the session records it."""
        return {
            "backend": dict(self.backend_settings),
            "workload": dict(self.workload_settings),
            "transforms": [
                {"name": step.name, "settings": dict(step.settings)} for step in self.transforms
            ],
            "runtime": [
                {"name": step.name, "settings": dict(step.settings)} for step in self.runtime_steps
            ],
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells of a profile, and how long the runnable ones should take."""

    profile: str
    cells: tuple[PlannedCell, ...]
    models: Mapping[str, ModelRef]
    estimate_s: float

    @property
    def runnable(self) -> tuple[PlannedCell, ...]:
        """Cells that can run."""
        return tuple(cell for cell in self.cells if cell.runnable)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "profile": self.profile,
            "estimate_s": self.estimate_s,
            "cells": [{**asdict(cell), "runnable": cell.runnable} for cell in self.cells],
        }


class SkipCellError(Exception):
    """Why a combination cannot run; caught by the planner."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


def make_plan(
    profile: Profile,
    registry: Registry,
    catalogue: Catalogue,
    profile_dirs: Sequence[Path],
) -> Plan:
    """Plan a profile. Wrong use raises; what this machine lacks becomes skipped cells."""
    planner = _Planner(profile, registry, catalogue, profile_dirs)
    cells = _with_labels(list(planner.cells()))
    runnable = sum(cell.runnable for cell in cells)
    models = planner.models
    return Plan(profile.name, tuple(cells), models, _estimate_s(profile, runnable))


def _estimate_s(profile: Profile, runnable: int) -> float:
    """Least time of a run: the first look's blocks of every cell, warm-ups, idle and loads."""
    protocol = profile.protocol
    processes = float(protocol["processes"])
    blocks = min(
        float(protocol["min_blocks"]) * float(protocol["block_s"]) * 1.3,
        float(protocol["time_budget_s"]),
    )
    per_process = ASSUMED_LOAD_S + float(protocol["warmup_min_s"])
    groups = 1 if protocol["turns"] else runnable
    return runnable * (blocks + processes * per_process) + groups * 2 * float(protocol["idle_s"])


class _Planner:
    def __init__(
        self,
        profile: Profile,
        registry: Registry,
        catalogue: Catalogue,
        profile_dirs: Sequence[Path],
    ) -> None:
        self.profile = profile
        self.registry = registry
        self.catalogue = catalogue
        self.profile_dirs = profile_dirs
        self.converters = [registry.converter(name) for name in registry.names("converter")]
        self.models = {choice.label: self._model(choice) for choice in profile.models}

    def _model(self, choice: Choice) -> ModelRef:
        for key in choice.settings:
            raise ProfileError(
                f"unknown key '{key}'",
                where=self.profile.where("model", choice.label, key),
                hint=unknown_name_hint(key, ["source"]),
            )
        return resolve_model(choice.plugin, self.catalogue, self.profile.folder)

    # -- axes ----------------------------------------------------------------------------

    def cells(self) -> Iterator[PlannedCell]:
        """All combinations that include and exclude leave."""
        backends = [(choice, self.registry.backend(choice.plugin))
                    for choice in self.profile.backends]  # fmt: skip
        workloads = [(choice, self.registry.workload(choice.plugin))
                     for choice in self.profile.workloads]  # fmt: skip
        for chain in self.profile.techniques:
            for step in chain.steps:
                self.registry.technique(step.plugin)
        for probe in self.profile.probes:
            self.registry.probe(probe)
        self._check_files()
        models = [choice.label for choice in self.profile.models]
        if not models:
            raise ProfileError("names no model", where=self.profile.file,
                               hint="add a table [model.NAME]")  # fmt: skip
        count = 0
        known_keys = {"model", "technique", "backend", "device", "workload"}
        for model in models:
            for chain in self.profile.techniques:
                for backend_choice, backend in backends:
                    for device, settings in self._backend_axes(backend_choice, backend):
                        for workload_choice, workload in workloads:
                            for work in self._expand("workload", workload_choice, workload):
                                facts = {
                                    **work, **settings, "model": model, "technique": chain.label,
                                    "backend": backend_choice.label, "device": device,
                                    "workload": workload_choice.label,
                                }  # fmt: skip
                                known_keys |= facts.keys()
                                if self._wanted(facts):
                                    count += 1
                                    yield self._cell(
                                        model, chain.label, chain.steps, backend_choice, backend,
                                        device, settings, workload_choice, workload, work,
                                    )  # fmt: skip
        self._check_patterns(known_keys)
        if count == 0:
            raise ProfileError(
                "include and exclude leave no cell", where=self.profile.file,
                hint="every combination is excluded; loosen [[include]] or [[exclude]]",
            )  # fmt: skip

    def _expand(
        self, kind: str, choice: Choice, plugin: Plugin
    ) -> Iterator[dict[str, OptionValue]]:
        """All settings of one entry: every list of values is an axis."""

        def where(key: str) -> str:
            return self.profile.where(kind, choice.label, key)

        axes = {
            key: value if isinstance(value, list) else [value]
            for key, value in choice.settings.items()
        }
        for key, listed in axes.items():
            if not listed:
                raise ProfileError("is an empty list", where=where(key))
        for values in itertools.product(*axes.values()):
            yield complete(plugin.options, dict(zip(axes, values, strict=True)), where)

    def _backend_axes(
        self, choice: Choice, backend: Backend
    ) -> Iterator[tuple[str, dict[str, OptionValue]]]:
        here = backend.available().ok
        devices = choice.devices
        if not devices:
            devices = tuple(device.name for device in backend.devices()) if here else ("any",)
        for device in devices:
            for settings in self._expand("backend", choice, backend):
                yield device, settings

    # -- include and exclude -------------------------------------------------------------

    def _wanted(self, facts: Mapping[str, object]) -> bool:
        include, exclude = self.profile.include, self.profile.exclude
        if include and not any(_matches(pattern, facts) for pattern in include):
            return False
        return not any(_matches(pattern, facts) for pattern in exclude)

    def _check_patterns(self, known: set[str]) -> None:
        for name, patterns in (("include", self.profile.include),
                               ("exclude", self.profile.exclude)):  # fmt: skip
            for pattern in patterns:
                for key in pattern:
                    if key not in known:
                        raise ProfileError(
                            f"unknown key '{key}'", where=self.profile.where(name, key),
                            hint=unknown_name_hint(key, known),
                        )  # fmt: skip

    def _check_files(self) -> None:
        """Files that the profile names must be readable before anything starts."""
        if self.profile.quality is not None:
            self._check_file(str(self.profile.quality["text"]), ("quality", "text"))

    def _check_file(self, value: str, path: tuple[str, ...]) -> None:
        where = self.profile.where(*path)
        try:
            file = resolve_text(value, self.catalogue, self.profile_dirs, self.profile.folder)
        except ProfileError as error:
            raise ProfileError(error.what, where=where, hint=error.hint) from None
        if not value.startswith("catalogue:"):
            readable_file(file, where)

    # -- one cell --------------------------------------------------------------------------

    def _cell(
        self,
        model: str,
        chain_label: str,
        steps: tuple[Step, ...],
        backend_choice: Choice,
        backend: Backend,
        device: str,
        settings: Settings,
        workload_choice: Choice,
        workload: Workload,
        work: Settings,
    ) -> PlannedCell:
        ref = self.models[model]
        for option in workload.options:
            if option.type == "file" and option.name in work:
                self._check_file(
                    str(work[option.name]), ("workload", workload_choice.label, option.name)
                )
        transforms: tuple[Transform, ...] = ()
        runtime: tuple[RuntimeStep, ...] = ()
        reason = kind = None
        try:
            _check_backend(backend, backend_choice.label, device)
            transforms, runtime = self._steps(ref, chain_label, steps, backend)
            self._check_capabilities(backend, workload, runtime)
            if ref.config is not None:
                check_against_config(backend, device, settings, workload, work, ref.config)
            fault = workload.check(work)
            if fault:
                raise SkipCellError(fault, "settings")
        except SkipCellError as skip:
            reason, kind = skip.reason, skip.kind
        return PlannedCell(
            id="", label="", model=model, model_source=ref.source, technique=chain_label,
            backend=backend_choice.label, backend_plugin=backend_choice.plugin, device=device,
            backend_settings=settings, workload=workload_choice.label,
            workload_plugin=workload_choice.plugin, workload_settings=work, unit=workload.unit,
            transforms=transforms, runtime_steps=runtime, reason=reason, reason_kind=kind,
        )  # fmt: skip

    def _steps(
        self, ref: ModelRef, chain_label: str, steps: tuple[Step, ...], backend: Backend
    ) -> tuple[tuple[Transform, ...], tuple[RuntimeStep, ...]]:
        architecture = (ref.config or {}).get("architectures", [None])[0]
        transforms = list(self._convert(ref.format, (CHECKPOINT_FORMAT,), architecture))
        runtime: list[RuntimeStep] = []
        current = CHECKPOINT_FORMAT
        for step in steps:
            technique = self.registry.technique(step.plugin)
            settings = complete(
                technique.options, step.settings,
                lambda key: self.profile.where("technique", chain_label, key),
            )  # fmt: skip
            availability = technique.available()
            if not availability.ok:
                raise SkipCellError(
                    _with_cure(availability.reason, availability.cure), "unavailable"
                )
            if isinstance(technique, RuntimeTechnique):
                runtime.append(RuntimeStep(step.plugin, settings))
                continue
            self._check_technique(technique, settings, ref)
            transforms.extend(self._convert(current, (technique.accepts,), architecture))
            transforms.append(
                Transform("technique", technique.name, technique.produces, settings,
                          dict(technique.versions()))
            )  # fmt: skip
            current = technique.produces
        transforms.extend(self._convert(current, backend.accepts, architecture))
        return tuple(transforms), tuple(runtime)

    def _check_technique(
        self, technique: ArtifactTechnique, settings: Settings, ref: ModelRef
    ) -> None:
        if ref.config is not None:
            fault = technique.check(settings, ref.config)
            if fault:
                raise SkipCellError(f"{technique.name}: {fault}", "settings")

    def _convert(
        self, source: str, targets: Iterable[str], architecture: str | None
    ) -> list[Transform]:
        """The shortest chain of converters from a format to one of the targets."""
        wanted = tuple(targets)
        if source in wanted:
            return []
        reasons: list[str] = []
        queue: deque[tuple[str, list[Converter]]] = deque([(source, [])])
        seen = {source}
        while queue:
            current, chain = queue.popleft()
            for converter in self.converters:
                if converter.source != current or converter.target in seen:
                    continue
                fault = _converter_fault(converter, architecture)
                if fault:
                    reasons.append(f"{converter.name}: {fault}")
                    continue
                longer = [*chain, converter]
                if converter.target in wanted:
                    return [_as_transform(each) for each in longer]
                seen.add(converter.target)
                queue.append((converter.target, longer))
        why = "; ".join(reasons) if reasons else "no installed plugin converts that"
        raise SkipCellError(f"no way from format '{source}' to {' or '.join(wanted)}: {why}",
                            "unavailable")  # fmt: skip

    def _check_capabilities(
        self, backend: Backend, workload: Workload, runtime: tuple[RuntimeStep, ...]
    ) -> None:
        needed = dict.fromkeys(workload.requires, f"workload '{workload.name}'")
        for step in runtime:
            technique = self.registry.technique(step.name)
            if isinstance(technique, RuntimeTechnique):
                needed.update(dict.fromkeys(technique.requires, f"technique '{step.name}'"))
        for capability, asker in needed.items():
            if capability not in backend.capabilities:
                raise SkipCellError(
                    f"{asker} needs the capability '{capability}', which backend "
                    f"'{backend.name}' does not have",
                    "capability",
                )


def _check_backend(backend: Backend, label: str, device: str) -> None:
    availability = backend.available()
    if not availability.ok:
        raise SkipCellError(_with_cure(availability.reason, availability.cure), "unavailable")
    offered = [each.name for each in backend.devices()]
    if device not in offered:
        raise SkipCellError(
            f"device '{device}' is not here; {label} offers: {', '.join(offered) or 'none'}",
            "unavailable",
        )


def check_against_config(
    backend: Backend,
    device: str,
    settings: Settings,
    workload: Workload,
    work: Settings,
    config: Mapping[str, object],
) -> None:
    """Raise :class:`SkipCellError` where a model's config.json rules the combination out."""
    fault = backend.check(device, settings, config)
    if fault:
        raise SkipCellError(fault, "settings")
    limit = config.get("max_position_embeddings")
    needed = workload.tokens_needed(work)
    if isinstance(limit, int) and needed > limit:
        raise SkipCellError(
            f"the workload needs {needed} tokens of context; the model has {limit}", "settings"
        )


def _converter_fault(converter: Converter, architecture: str | None) -> str | None:
    availability = converter.available()
    if not availability.ok:
        return _with_cure(availability.reason, availability.cure)
    return converter.supports(architecture) if architecture else None


def _as_transform(converter: Converter) -> Transform:
    return Transform(
        "converter", converter.name, converter.target,
        converter.default_settings(), dict(converter.versions()),
    )  # fmt: skip


def _with_cure(reason: str | None, cure: str | None) -> str:
    return (reason or "not available") + (f" ({cure})" if cure else "")


def _matches(pattern: Mapping[str, object], facts: Mapping[str, object]) -> bool:
    for key, wanted in pattern.items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if facts.get(key) not in allowed:
            return False
    return True


def _axes(cell: PlannedCell) -> dict[str, object]:
    return {
        "model": cell.model,
        "technique": cell.technique,
        "backend": cell.backend,
        "device": cell.device,
        **{f"b.{key}": value for key, value in cell.backend_settings.items()},
        "workload": cell.workload,
        **{f"w.{key}": value for key, value in cell.workload_settings.items()},
    }


def _with_labels(cells: list[PlannedCell]) -> list[PlannedCell]:
    """Labels from what varies between cells (backend and workload always), and unique ids."""
    axes = [_axes(cell) for cell in cells]
    seen: dict[str, set[object]] = {}
    for each in axes:
        for key, value in each.items():
            seen.setdefault(key, set()).add(value)
    settings_vary = _varying_within_label(cells)
    result: list[PlannedCell] = []
    for number, (cell, each) in enumerate(zip(cells, axes, strict=True), start=1):
        parts: list[str] = []
        for key, value in each.items():
            always = key in ("backend", "workload")
            if key.startswith(("b.", "w.")):
                varies = key in settings_vary.get((key[0], _owner(cell, key)), set())
            else:
                varies = len(seen[key]) > 1
            if always or varies:
                parts.append(_short(key, value))
        label = " ".join(parts)
        content = json.dumps([cell.model_source, cell.technique, each], sort_keys=True, default=str)
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60]
        result.append(replace(cell, id=f"{number:03d}-{slug}-{digest}", label=label))
    return result


def _owner(cell: PlannedCell, key: str) -> str:
    return cell.backend if key.startswith("b.") else cell.workload


def _varying_within_label(cells: list[PlannedCell]) -> dict[tuple[str, str], set[str]]:
    """For each backend and workload entry, the settings in which its cells differ."""
    values: dict[tuple[str, str, str], set[object]] = {}
    for cell in cells:
        for key, value in _axes(cell).items():
            if key.startswith(("b.", "w.")):
                values.setdefault((key[0], _owner(cell, key), key), set()).add(value)
    result: dict[tuple[str, str], set[str]] = {}
    for (part, owner, key), found in values.items():
        if len(found) > 1:
            result.setdefault((part, owner), set()).add(key)
    return result


def _short(key: str, value: object) -> str:
    name = key.partition(".")[2]
    if not name or isinstance(value, str):
        return str(value)
    return f"{name}={value}"
