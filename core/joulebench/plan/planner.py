"""From a profile to cells: every combination, runnable or skipped with its reason.

The planner knows formats and capabilities, never names: a backend says which artifact formats it
takes, converters say what they turn into what, and the planner finds the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from joulebench.api import Converter, Plugin, RuntimeTechnique, Settings, Technique
from joulebench.environments.asking import Interpreters, Place
from joulebench.environments.python import OtherPython
from joulebench.errors import ModelError, ProfileError, UnknownPluginError
from joulebench.models.catalogue import CHECKPOINT_FORMAT, Catalogue, ModelRef, resolve_model, shape_of
from joulebench.models.making import Transform
from joulebench.plan.cells import ANY_DEVICE, Plan, PlannedCell, PlannedReference, PreparedSession, RuntimeStep
from joulebench.plan.checks import (
    SkipCellError,
    check_backend,
    check_context,
    check_technique,
    require,
    require_capabilities,
    session_settings,
)
from joulebench.plan.conversion import NoRouteError, route
from joulebench.plan.duration import run_duration
from joulebench.plan.files import ProfileFiles
from joulebench.plan.interpreters import Placing
from joulebench.plan.labels import short_setting, with_labels
from joulebench.plan.matrix import (
    BackendVariant,
    Combination,
    WorkloadVariant,
    backend_variants,
    check_size,
    combine,
    model_variants,
    select,
    select_backends,
    workload_variants,
)
from joulebench.plan.modelnotes import described, file_formats, memory_fault, model_notes
from joulebench.plan.ownfiles import OwnFileCells
from joulebench.plan.timing import PlanningTime
from joulebench.profile.reading import Chain, Choice, Profile, Step
from joulebench.profile.values import complete, readable_file
from joulebench.registry.loading import Registry

_P = TypeVar("_P", bound=Plugin)


def make_plan(profile: Profile, registry: Registry, catalogue: Catalogue, profile_dirs: Sequence[Path]) -> Plan:
    """Plan a profile. Wrong use raises; what this machine lacks becomes skipped cells."""
    duration = PlanningTime(profile.limits.plan_s)
    with duration.bounded(profile.file):
        planner = _Planner(profile, registry, catalogue, profile_dirs, duration)
        cells = with_labels([planner.cell(point) for point in planner.combinations()])
        references = planner.references()
    runs = run_duration(profile, [cell for cell in cells if cell.runnable], references)
    return Plan(profile.name, tuple(cells), planner.models, runs, references)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a model comes to a backend: transforms of its files, steps while it runs.

    ``recorded`` are those steps with settings as the profile has them; ``config`` is what the plan
    knows of the model that arrives.
    """

    transforms: tuple[Transform, ...]
    runtime: tuple[RuntimeStep, ...]
    recorded: tuple[RuntimeStep, ...]
    config: Mapping[str, object] | None
    notes: tuple[str, ...]


class _Planner:
    """Holds what all cells of a profile are judged by."""

    def __init__(
        self,
        profile: Profile,
        registry: Registry,
        catalogue: Catalogue,
        profile_dirs: Sequence[Path],
        time: PlanningTime,
    ) -> None:
        self._time = time
        self._profile = profile
        self._registry = registry
        self._catalogue = catalogue
        self._files = ProfileFiles(profile, catalogue, profile_dirs)
        self._converters = [registry.converter(name) for name in registry.names("converter")]
        self._placing = Placing(profile, Interpreters(registry=registry))
        self._backends: list[BackendVariant] = []
        self._file_faults: dict[tuple[Path, str], str | None] = {}
        self._conversion_faults: dict[tuple[Path, str], str | None] = {}
        self._own_files = OwnFileCells()
        self.models = {
            label: self._model(choice, source)
            for choice in profile.models
            for label, source in model_variants(profile, choice)
        }

    def _model(self, choice: Choice, source: str) -> ModelRef:
        path = ("model", choice.label)
        try:
            with self._time.doing(f"model '{choice.label}'"):
                formats = file_formats(self._converters)
                ref = resolve_model(source, self._catalogue, self._profile.folder, formats)
                return described(self._converters, ref)
        except ModelError as error:
            what = error.what if error.where is None else f"{error.where}: {error.what}"
            where = self._profile.where(*path, *(("source",) if choice.named else ()))
            raise ModelError(what, where=where, hint=error.hint) from None

    # -- what the profile names --------------------------------------------------------------

    def combinations(self) -> list[Combination]:
        """All combinations that include and exclude leave, every name and value checked."""
        profile = self._profile
        if not profile.models:
            raise ProfileError("names no model", where=profile.file, hint="add a table [model.NAME]")
        self._check_techniques()
        self._check_probes()
        for choice in profile.backends:
            backend = self._named(self._registry.backend, choice.plugin, "backend", choice)
            with self._time.doing(f"backend '{choice.label}'"):
                place = self._placing.backend(choice, backend)
            devices = choice.devices or place.devices or (ANY_DEVICE,)
            self._backends.extend(backend_variants(profile, choice, backend, devices, place))
        workloads: list[WorkloadVariant] = []
        for choice in profile.workloads:
            workload = self._named(self._registry.workload, choice.plugin, "workload", choice)
            workloads.extend(workload_variants(profile, choice, workload))
        with self._time.doing("the texts"):
            self._check_files(workloads)
            self._check_technique_files()
        check_size(profile, len(self.models) * len(profile.techniques) * len(self._backends) * len(workloads))
        everything = combine(list(self.models), profile.techniques, self._backends, workloads)
        return select(profile, everything)

    def _named(self, find: Callable[[str], _P], name: str, kind: str, choice: Choice) -> _P:
        return self._found(find, name, kind, choice.label, *(("plugin",) if choice.named else ()))

    def _found(self, find: Callable[[str], _P], name: str, *path: str) -> _P:
        """A plugin by name; where the profile names it, if there is none."""
        try:
            return find(name)
        except UnknownPluginError as error:
            where = self._profile.where(*path)
            raise UnknownPluginError(error.what, where=where, hint=error.hint) from None

    def _check_techniques(self) -> None:
        for chain in self._profile.techniques:
            for step in chain.steps:
                technique = self._found(self._registry.technique, step.plugin, "technique", chain.label)
                self._step_settings(chain, step, technique)

    def _step_settings(self, chain: Chain, step: Step, technique: Technique) -> Settings:
        return complete(
            technique.options, step.settings, lambda key: self._profile.where("technique", chain.label, key)
        )

    def _check_probes(self) -> None:
        for name, settings in self._profile.probes.items():
            probe = self._found(self._registry.probe, name, "probe", name)
            # ``enabled`` switches any probe off, whether or not it has such an option of its own.
            own = {key: value for key, value in settings.items() if key != "enabled"}
            complete(probe.options, own, partial(self._profile.where, "probe", name))

    def _check_files(self, workloads: Iterable[WorkloadVariant]) -> None:
        """Files that the profile names must be readable before anything starts."""
        if self._profile.quality is not None:
            self._check_file(self._profile.quality.text, "quality", "text")
        if self._profile.agreement is not None:
            self._check_file(self._profile.agreement.prompts, "agreement", "prompts")
        for variant in workloads:
            for option in variant.workload.options:
                value = variant.settings.get(option.name)
                if option.type == "file" and value is not None:
                    self._check_file(str(value), "workload", variant.label, option.name)
        for backend in self._backends:
            for option in backend.backend.options:
                value = backend.settings.get(option.name)
                if option.type == "file" and value is not None:
                    self._check_file(str(value), "backend", backend.label, option.name)

    def _check_technique_files(self) -> None:
        """As workloads' files; and none may be the text that quality is judged on."""
        for chain in self._profile.techniques:
            for step in chain.steps:
                technique = self._registry.technique(step.plugin)
                settings = self._step_settings(chain, step, technique)
                for option in technique.options:
                    value = settings.get(option.name)
                    if option.type != "file" or value is None:
                        continue
                    path = ("technique", chain.label, option.name)
                    self._check_file(str(value), *path)
                    if fault := self._files.leak(self._files.path(str(value))):
                        raise ProfileError(
                            fault,
                            where=self._profile.where(*path),
                            hint="give a text for calibration, such as 'builtin:calibration'",
                        )

    def _check_file(self, value: str, *path: str) -> None:
        where = self._profile.where(*path)
        try:
            file = self._files.path(value)
        except ProfileError as error:
            raise ProfileError(error.what, where=where, hint=error.hint) from None
        if not value.startswith("catalogue:"):
            readable_file(file, where)

    # -- one cell ------------------------------------------------------------------------------

    def cell(self, point: Combination) -> PlannedCell:
        """The cell of a combination, with the reason if it cannot run."""
        backend, work = point.backend, point.workload
        cell = PlannedCell(
            id="",
            label="",
            model=point.model,
            model_source=self.models[point.model].source,
            technique=point.chain.label,
            backend=backend.label,
            backend_plugin=backend.backend.name,
            device=backend.device,
            backend_settings=backend.settings,
            workload=work.label,
            workload_plugin=work.workload.name,
            workload_settings=work.settings,
            unit=work.workload.unit,
            transforms=(),
            runtime_steps=(),
            depth=self.models[point.model].depth,
        )
        try:
            with self._time.doing(f"backend '{backend.label}'"):
                python = self._worker(point.chain, backend)
                cell = replace(cell, python=python)
                return self._prepared(cell, point)
        except SkipCellError as skip:
            return replace(cell, reason=skip.reason, reason_kind=skip.kind)

    def _prepared(self, cell: PlannedCell, point: Combination) -> PlannedCell:
        """The cell with all that a run consumes: steps, and the settings that its worker opens with."""
        backend, workload = point.backend.backend, point.workload.workload
        way = self._way(point.model, point.chain, point.backend)
        # A capability that is lacking says more than an option that is.
        self._check_capabilities(point, way.runtime, way.config)
        session = PreparedSession(
            settings=session_settings(self._resolved(point.backend), backend, way.runtime, self._registry),
            workload_settings=self._files.resolved(workload.options, point.workload.settings),
            runtime_steps=way.runtime,
        )
        check_backend(backend, cell.device, session.settings, way.config)
        check_context(workload, point.workload.settings, way.config)
        if fault := workload.check(point.workload.settings):
            raise SkipCellError(fault, "settings")
        unapplied: tuple[str, ...] = ()
        if self.models[point.model].runs_as_it_is and not way.transforms:
            unapplied = self._own_files.unapplied(cell, backend.conversion_settings(session.settings))
        ref = self.models[point.model]
        dtype = None if _rewritten(way.transforms) else session.settings.get("dtype")
        if fault := memory_fault(ref, shape_of(ref, self._catalogue), dtype):
            raise SkipCellError(fault, "memory")
        return replace(
            cell,
            transforms=way.transforms,
            runtime_steps=way.recorded,
            prepared=session,
            notes=way.notes,
            unapplied=unapplied,
            unknown=_unknown(ref),
        )

    def _worker(self, chain: Chain, variant: BackendVariant) -> OtherPython | None:
        """The interpreter of the cell's worker, in which all that acts in it must work."""
        acting: list[tuple[RuntimeTechnique, Place]] = []
        for step in chain.steps:
            technique = self._registry.technique(step.plugin)
            if isinstance(technique, RuntimeTechnique):
                acting.append((technique, self._placing.step(chain, step, technique)))
        if all(place.python is None for _, place in acting):
            self._check_backend(variant)
        python, availability = self._placing.worker(variant.backend, variant.device, variant.place, acting)
        require(availability)
        return python

    def _check_backend(self, variant: BackendVariant) -> None:
        offer = variant.place
        require(offer.availability)
        if variant.device not in offer.devices:
            raise SkipCellError(
                f"device '{variant.device}' is not here; {variant.label} offers: {', '.join(offer.devices) or 'none'}",
                "unavailable",
            )

    def _way(self, model: str, chain: Chain, backend: BackendVariant) -> _Way:
        """What is done to the model's files, and what while it runs.

        Models become checkpoints first: one checkpoint serves all backends. But for a file of the
        user's own: a backend that opens such files gets it as it is, and one that no converter makes a
        checkpoint of goes on from its own format.
        """
        ref = self.models[model]
        resolved = self._resolved(backend)
        formats = backend.backend.formats(resolved)
        opens = ref.runs_as_it_is and ref.format in formats
        direct = opens or (ref.runs_as_it_is and not self._leads_to_checkpoint(ref.format))
        transforms: list[Transform] = []
        current, config = ref.format, ref.file_config
        if opens:
            self._check_model_file(ref, backend)
        if not direct:
            transforms += self._convert(ref, ref.format, (CHECKPOINT_FORMAT,), model=ref.path)
            current, config = CHECKPOINT_FORMAT, ref.config
        runtime: list[RuntimeStep] = []
        recorded: list[RuntimeStep] = []
        for step in chain.steps:
            technique = self._registry.technique(step.plugin)
            settings = self._step_settings(chain, step, technique)
            with self._time.doing(f"technique '{step.plugin}'"):
                place = self._placing.step(chain, step, technique)
            require(place.availability)
            if isinstance(technique, RuntimeTechnique):
                recorded.append(RuntimeStep(step.plugin, settings))
                runtime.append(RuntimeStep(step.plugin, self._files.resolved(technique.options, settings)))
                continue
            if direct and technique.accepts != current:
                raise SkipCellError(
                    f"{technique.name} takes a model of format '{technique.accepts}', and a file of format "
                    f"'{current}' runs as it is on {backend.label}: name the checkpoint that it was made of",
                    "settings",
                )
            check_technique(technique, settings, config)
            config = None if config is None else technique.config_after(settings, config)
            transforms += self._convert(ref, current, (technique.accepts,))
            transforms.append(
                Transform(
                    "technique", technique.name, technique.produces, settings, place.versions, python=place.python
                )
            )
            current = technique.produces
        conversion = backend.backend.conversion_settings(resolved)
        transforms += self._convert(ref, current, formats, conversion, None if transforms else ref.path)
        notes = model_notes(self._registry, ref, ref.path, backend.label, transforms)
        return _Way(tuple(transforms), tuple(runtime), tuple(recorded), config, tuple(notes))

    def _leads_to_checkpoint(self, format_: str) -> bool:
        """Whether any chain of converters leads from a format to checkpoints."""
        reached = {format_}
        while CHECKPOINT_FORMAT not in reached:
            more = {converter.target for converter in self._converters if converter.source in reached} - reached
            if not more:
                return False
            reached |= more
        return True

    def _check_model_file(self, ref: ModelRef, variant: BackendVariant) -> None:
        """Skip where the runtime cannot open the user's own file; it is asked once."""
        if ref.path is None or variant.place.python is not None:
            return  # another interpreter's runtime says it when it opens the file
        key = (ref.path, variant.backend.name)
        if key not in self._file_faults:
            with self._time.doing(f"opening {ref.path.name} with {variant.backend.name}"):
                self._file_faults[key] = variant.backend.check_file(ref.path)
        if fault := self._file_faults[key]:
            raise SkipCellError(f"{ref.path.name}: {fault}", "artifact")

    def _convert(
        self,
        ref: ModelRef,
        source: str,
        targets: Iterable[str],
        settings: Settings | None = None,
        model: Path | None = None,
    ) -> list[Transform]:
        if source == ref.format == CHECKPOINT_FORMAT:
            # Techniques may have changed its weights, but not its tokenizer or what its layers are.
            model = ref.path
        try:
            with self._time.doing(f"converters of {source}"):
                place_of, check = self._placing.converter, self._check_conversion
                return route(self._converters, source, targets, ref.architecture, settings, place_of, model, check)
        except NoRouteError as error:
            raise SkipCellError(str(error), "unavailable") from None

    def _check_conversion(self, converter: Converter, model: Path) -> str | None:
        """Why a converter cannot take this very model; it is asked once."""
        key = (model, converter.name)
        if key not in self._conversion_faults:
            self._conversion_faults[key] = converter.check(model)
        return self._conversion_faults[key]

    def _check_capabilities(
        self, point: Combination, runtime: Iterable[RuntimeStep], config: Mapping[str, object] | None
    ) -> None:
        workload, backend = point.workload.workload, point.backend.backend
        work = self._files.resolved(workload.options, point.workload.settings)
        needed = dict.fromkeys(workload.needs(work), f"workload '{workload.name}'")
        for step in runtime:
            technique = self._registry.technique(step.name)
            if isinstance(technique, RuntimeTechnique):
                needed.update(dict.fromkeys(technique.requires, f"technique '{step.name}'"))
        require_capabilities(backend, self._resolved(point.backend), needed, config)

    def _resolved(self, variant: BackendVariant) -> Settings:
        """The settings of a backend as its methods take them."""
        return self._files.resolved(variant.backend.options, variant.settings)

    # -- what cells are compared with ------------------------------------------------------------

    def references(self) -> dict[str, PlannedReference]:
        """The reference of each model; empty where the profile wants no agreement check.

        Of several backends that the pattern matches the first that can run is taken.
        """
        agreement = self._profile.agreement
        if agreement is None:
            return {}
        path = ("agreement", "reference")
        variants = select_backends(self._profile, agreement.reference, *path, variants=self._backends)
        named = [
            short_setting(key, value)
            for key, value in agreement.reference.items()
            if key not in ("backend", "device") and not isinstance(value, list)
        ]
        references: dict[str, PlannedReference] = {}
        for model in self.models:
            planned = [self._reference(model, variant, named) for variant in variants]
            references[model] = next((cell for cell in planned if cell.reason is None), planned[0])
        return references

    def _reference(self, model: str, variant: BackendVariant, named: Sequence[str]) -> PlannedReference:
        reference = PlannedReference(
            " ".join([variant.label, *named]),
            model,
            variant.label,
            variant.backend.name,
            variant.device,
            variant.settings,
            python=variant.place.python,
        )
        try:
            self._check_backend(variant)
            settings = self._resolved(variant)
            way = self._way(model, Chain("none", ()), variant)
            able = variant.backend.abilities_with(settings, way.config)
            encoder = "encode" in able and "generate" not in able
            needed = dict.fromkeys(("encode",) if encoder else ("generate", "logits"), "a reference")
            require_capabilities(variant.backend, settings, needed, way.config)
            check_backend(variant.backend, variant.device, settings, way.config)
            ref = self.models[model]
            if fault := memory_fault(ref, shape_of(ref, self._catalogue), settings.get("dtype")):
                raise SkipCellError(fault, "memory")
            return replace(reference, transforms=way.transforms, prepared=PreparedSession(settings))
        except SkipCellError as skip:
            alone = self.models[model].file
            only = "" if alone is None else f"only {alone.files[0].name} is here; "
            return replace(reference, reason=only + skip.reason)


def _rewritten(transforms: Sequence[Transform]) -> bool:
    """Whether a technique decides what the weights take, and not the backend's number type."""
    return any(step.kind == "technique" for step in transforms)


def _unknown(ref: ModelRef) -> str | None:
    """Why it is not known whether a model can run: it is not here, or nobody can read its sizes yet."""
    if ref.config is not None:
        return None
    if ref.fetched:
        return "whether it fits backend and workload is known when it has been converted"
    return f"not fetched: whether it runs here is unknown until 'joulebench models fetch {ref.source}'"
