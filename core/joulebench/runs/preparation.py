"""What the plan settled, made real: models fetched, transformed and checked, and the jobs of workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joulebench.api import Artifact, ArtifactTechnique, Backend, Scalar, Settings
from joulebench.errors import JoulebenchError, UnavailableError
from joulebench.models.catalogue import CHECKPOINT_FORMAT, Catalogue, ModelRef, checkpoint_config, fetched, obtain_model
from joulebench.models.making import MakingLimits, Transform
from joulebench.models.store import Store
from joulebench.plan.cells import Plan, PlannedCell, PlannedReference
from joulebench.plan.checks import SkipCellError, check_backend, check_context, check_technique
from joulebench.plan.files import ProfileFiles
from joulebench.plan.labels import untaken
from joulebench.plan.modelnotes import described, model_notes
from joulebench.profile.reading import Profile
from joulebench.registry.loading import Registry
from joulebench.runs.orders import Job


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model through all transforms of a cell."""

    artifact: Artifact
    checkpoint: Path | None
    evidence: dict[str, dict[str, Scalar]]
    config: Mapping[str, Any] | None


class Preparation:
    """Makes the jobs of a plan's cells; each model is fetched and each artifact made once."""

    def __init__(
        self,
        profile: Profile,
        plan: Plan,
        registry: Registry,
        catalogue: Catalogue,
        files: ProfileFiles,
        say: Callable[[str], None],
    ) -> None:
        self._profile = profile
        self._plan = plan
        self._registry = registry
        self._catalogue = catalogue
        self._files = files
        self._say = say
        self._store = Store(limits=MakingLimits(profile.limits.make_s, profile.limits.memory_bytes))
        self._models: dict[str, Artifact | JoulebenchError] = {}
        self._refs = dict(plan.models)

    def plan_now(self) -> Plan:
        """The plan with what is known of the models since they are here."""
        return replace(self._plan, cells=tuple(map(self._noted, self._plan.cells)))

    def _noted(self, cell: PlannedCell) -> PlannedCell:
        model = self._models.get(cell.model)
        if not isinstance(model, Artifact):
            return cell
        ref = self._refs[cell.model]
        notes = model_notes(self._registry, ref, model.path, cell.backend, cell.transforms)
        return replace(cell, notes=tuple(notes))

    def cell(self, cell: PlannedCell) -> Job:
        """Everything that a cell needs, made now.

        Raises :class:`SkipCellError` where the model, now that it is here, rules the cell out, and
        :class:`JoulebenchError` where something cannot be fetched or made.
        """
        workload = self._registry.workload(cell.workload_plugin)
        model = self._model_for(cell)
        check_context(workload, cell.workload_settings, model.config)
        job = self._job(model, cell)
        self._files.paths(workload.options, cell.workload_settings)
        for step in cell.runtime_steps:
            self._files.paths(self._registry.technique(step.name).options, step.settings)
        return replace(job, judged=workload.judged)

    def reference(self, reference: PlannedReference) -> Job:
        """Everything that a reference needs, made now. Raises :class:`JoulebenchError`."""
        try:
            return self._job(self._model_for(reference), reference)
        except SkipCellError as skip:
            raise UnavailableError(skip.reason) from None

    def _job(self, model: ReadyModel, planned: PlannedCell | PlannedReference) -> Job:
        """The job on a model that is here; raises :class:`SkipCellError` where the backend cannot run it."""
        backend = self._registry.backend(planned.backend_plugin)
        session = planned.prepared
        if session is None:
            raise SkipCellError(planned.reason or "was not prepared by the plan", "settings")
        check_backend(backend, planned.device, session.settings, model.config)
        self._files.paths(backend.options, planned.backend_settings)
        return Job(
            artifact=model.artifact,
            checkpoint=model.checkpoint,
            environment=dict(backend.environment(planned.device, session.settings)),
            session=session,
            evidence=model.evidence,
            can_score="score" in backend.abilities_with(session.settings, model.config),
            judged=True,
            seed=self._profile.measurement.seed,
            shuffle=self._profile.measurement.shuffle,
            limits=self._profile.limits,
            python=planned.python,
            own_tokenizer=_own_tokenizer(self._refs[planned.model], backend, session.settings),
        )

    def _model_for(self, cell: PlannedCell | PlannedReference) -> ReadyModel:
        """The model of a cell through all of its transforms."""
        artifact = self._model(cell.model)
        if self._plan.models[cell.model].path is None and self._refs[cell.model].runs_as_it_is:
            self._check_late(cell, artifact.path)
        checkpoint = artifact.path if artifact.format == CHECKPOINT_FORMAT else _beside(self._refs[cell.model])
        config = checkpoint_config(artifact) or self._refs[cell.model].file_config
        evidence: dict[str, dict[str, Scalar]] = {}
        for step in cell.transforms:
            stored = self._store.make(artifact, self._ready(step, config), self._say)
            artifact = stored.artifact
            if stored.evidence:
                # A chain may use one technique twice.
                evidence[untaken(step.name, evidence)] = dict(stored.evidence)
            if artifact.format == CHECKPOINT_FORMAT:
                checkpoint = artifact.path
                config = checkpoint_config(artifact)
        return ReadyModel(artifact, checkpoint, evidence, config)

    def _check_late(self, cell: PlannedCell | PlannedReference, model: Path) -> None:
        """What the plan could not ask of a file that was not here. Raises :class:`SkipCellError`."""
        first = cell.transforms[0] if cell.transforms else None
        fault = None
        if first is not None and first.kind == "converter":
            converter = self._registry.converter(first.name)
            architecture = self._refs[cell.model].architecture
            fault = (converter.supports(architecture) if architecture else None) or converter.check(model)
        elif first is None and cell.python is None:
            fault = self._registry.backend(cell.backend_plugin).check_file(model)
        if fault:
            raise SkipCellError(f"{model.name}: {fault}", "artifact")

    def _ready(self, step: Transform, config: Mapping[str, Any] | None) -> Transform:
        """The step with its files as paths.

        A technique is asked once more whether it fits: the configuration may not have been known
        to the plan, or a step before has changed it.
        """
        if step.kind != "technique":
            return step
        technique = self._registry.technique(step.name)
        if isinstance(technique, ArtifactTechnique):
            check_technique(technique, step.settings, config)
        files = self._files.paths(technique.options, step.settings)
        for name, file in files.items():
            if fault := self._files.leak(file):
                raise SkipCellError(f"{technique.name}: {name} {fault}", "settings")
        return replace(step, files=files)

    def _known(self, label: str) -> ModelRef:
        """The model with what its file says of itself, which the plan did not know of one to be fetched."""
        ref = self._refs[label]
        if ref.runs_as_it_is and ref.file is None:
            converters = [self._registry.converter(name) for name in self._registry.names("converter")]
            ref = self._refs[label] = described(converters, fetched(ref, self._say))
        return ref

    def _model(self, label: str) -> Artifact:
        """The model as it was obtained; a failure is the same for each of its cells."""
        if label not in self._models:
            try:
                ref = self._known(label)
                self._models[label] = obtain_model(ref, self._catalogue, self._profile.folder, self._say)
            except JoulebenchError as error:
                self._models[label] = error
        model = self._models[label]
        if isinstance(model, JoulebenchError):
            raise model
        return model


def _beside(model: ModelRef) -> Path | None:
    """The folder with the tokenizer of a model's own file, where it lies apart."""
    return None if model.file is None else model.file.beside


def _own_tokenizer(model: ModelRef, backend: Backend, settings: Settings) -> bool:
    """Whether the model's own file has a tokenizer that the backend reads."""
    return model.file is not None and model.file.tokenizer and "tokenize" in backend.abilities(settings)
