"""A run: prepare the artifacts, measure the groups of cells, write the session."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from joulebench.api import FinishedCell
from joulebench.api.workload import BATCH
from joulebench.checkpoint import inspect_checkpoint
from joulebench.errors import JoulebenchError, NothingRanError
from joulebench.meter.live.owner import ReaderOwner
from joulebench.models.catalogue import CHECKPOINT_FORMAT, Catalogue
from joulebench.models.making import Transform
from joulebench.plan.cells import Plan, PlannedCell
from joulebench.plan.checks import SkipCellError
from joulebench.plan.files import ProfileFiles
from joulebench.profile.reading import Profile
from joulebench.registry.loading import Registry
from joulebench.runs.cell import CellRun
from joulebench.runs.folder import forget_profile_file, only_writer
from joulebench.runs.instruments import Instruments
from joulebench.runs.judging import AgreementJudge, Judge, QualityJudge
from joulebench.runs.machine import describe_machine, preflight, versions
from joulebench.runs.orders import Job, ScoredText
from joulebench.runs.packing import fitting
from joulebench.runs.preparation import Preparation
from joulebench.runs.record import CellRecord
from joulebench.runs.references import References
from joulebench.runs.resume import Leg
from joulebench.runs.rows import planned_row
from joulebench.runs.spread import recorded
from joulebench.runs.turns import GroupRun, IdleBaselines, Rounds, Watcher, take_legs
from joulebench.sensors.quiet import QuietGate
from joulebench.session import Session
from joulebench.session.tables import SCHEMA_VERSION, ClockTriple
from joulebench.session.writing import SessionWriter

#: What a loaded model is assumed to need. A checkpoint, for each parameter: a float32, and half of
#: one for the copies that loading makes. What was converted for a runtime, for each byte on disk:
#: itself, and at most a second copy that the kernels rearranged.
_BYTES_PER_PARAMETER: Final = 6.0
_CONVERTED_FACTOR: Final = 2.0
#: And what the runtime needs for itself.
_RUNTIME_BYTES: Final = 500 * 2**20
#: Share of the available memory that the cells of one group may fill.
_MEMORY_SHARE: Final = 0.6


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: cells by status."""

    session: Path
    ok: int
    failed: int
    skipped: int


class Run:
    """One run of one profile into one session folder."""

    def __init__(
        self,
        profile: Profile,
        plan: Plan,
        registry: Registry,
        catalogue: Catalogue,
        folder: Path,
        instruments: Instruments,
        watcher: Watcher,
        resumed: Session | None = None,
        quiet: QuietGate | None = None,
    ) -> None:
        self._profile = profile
        self._plan = plan
        self._registry = registry
        self._watcher = watcher
        self._resumed = resumed
        self._quiet = quiet
        self._writer = SessionWriter(folder)
        self._files = ProfileFiles(profile, catalogue, registry.profile_dirs(), watcher.say)
        self._preparation = Preparation(profile, plan, registry, catalogue, self._files, watcher.say)
        self._protocol = profile.measurement
        self._seed = self._protocol.seed
        machine = describe_machine()
        state = preflight()
        self._available_bytes = state.memory_available_bytes
        self._leg = Leg(
            started_at=datetime.now(tz=UTC),
            profile_text=profile.text,
            overrides=tuple(profile.overrides),
            protocol_json=json.dumps(profile.protocol_json()),
            machine=machine,
            preflight_json=json.dumps({**asdict(state), **asdict(recorded(machine))}),
            versions=self._versions(),
            channels=instruments.channel_rows(),
            probes=instruments.probe_rows(),
            clock_start=ClockTriple.now(),
        )
        self._statuses: dict[str, str] = {}
        self._accountant = instruments.accountant(self._protocol.margins)
        self._owner = ReaderOwner(self._accountant.channels)

    # -- the whole -----------------------------------------------------------------------------

    def execute(self) -> RunResult:
        """Run everything that can run. Ctrl-C leaves the session resumable and is raised on."""
        with only_writer(self._writer.path):
            return self._execute()

    def _execute(self) -> RunResult:
        if self._resumed is not None:
            self._leg.check(self._resumed)
        self._write_session("running")
        finished = self._finished_before()
        todo = [cell for cell in self._plan.cells if cell.id not in finished]
        for cell in todo:
            if not cell.runnable:
                self._skip(cell, cell.reason or "", cell.reason_kind or "")
        jobs: list[tuple[PlannedCell, Job]] = []
        for cell in todo:
            if cell.runnable and (job := self._job(cell)) is not None:
                jobs.append((cell, job))
        references = self._references()
        judges = self._judges(references)
        try:
            self._measure(self._groups(jobs), judges, references)
        except KeyboardInterrupt:
            self._write_session("interrupted")
            raise
        finally:
            self._owner.close()
            if references is not None:
                references.forget()
        self._write_session("complete")
        forget_profile_file(self._writer.path)
        counts = {status: list(self._statuses.values()).count(status) for status in ("ok", "failed", "skipped")}
        result = RunResult(self._writer.path, **counts)
        if result.ok == 0:
            raise NothingRanError(
                "no cell could be measured; see the causes above",
                hint=f"'joulebench report {self._writer.path}' lists them",
            )
        return result

    def _finished_before(self) -> set[str]:
        if self._resumed is None:
            return set()
        rows = self._resumed.cells().select(["cell_id", "status"]).to_pylist()
        for row in rows:
            self._statuses[row["cell_id"]] = row["status"]
        return {row["cell_id"] for row in rows}

    def _write_session(self, status: str) -> None:
        """The session's row: what the first leg found, and every leg beside it."""
        done = status != "running"
        earlier = self._resumed.row if self._resumed is not None else None
        first = self._leg.first_row(self._writer.path.name) if earlier is None else earlier
        self._writer.write_session(
            replace(
                first,
                schema_version=SCHEMA_VERSION,
                status=status,
                finished_at=datetime.now(tz=UTC) if done else None,
                profile_name=self._profile.name,
                profile_text=self._profile.text,
                overrides=tuple(self._profile.overrides),
                plan_json=json.dumps(self._preparation.plan_now().to_json(), default=str),
                seed=self._seed,
                clock_end=ClockTriple.now() if done else None,
                legs=self._leg.rows(earlier, done=done),
            )
        )

    def _versions(self) -> dict[str, str]:
        named: dict[str, str] = {}
        for cell in self._plan.cells:
            named.update(self._registry.backend(cell.backend_plugin).versions())
            for transform in cell.transforms:
                named.update(_by_place(transform))
        return versions(named)

    # -- preparing -------------------------------------------------------------------------------

    def _job(self, cell: PlannedCell) -> Job | None:
        """Everything a cell needs, made now; ``None`` where that fails (the cell has its row)."""
        try:
            return self._preparation.cell(cell)
        except SkipCellError as skip:
            self._skip(cell, skip.reason, skip.kind)
            return None
        except JoulebenchError as error:
            self._skip(cell, str(error), "artifact", status="failed")
            return None

    def _skip(self, cell: PlannedCell, reason: str, kind: str, status: str = "skipped") -> None:
        self._watcher.note(f"{cell.label}: {status}: {reason}")
        self._writer.write_cell(replace(planned_row(cell, status), cause=reason, cause_kind=kind))
        self._ended(cell.id, status, reason)

    def _ended(self, cell_id: str, status: str, cause: str | None) -> None:
        self._statuses[cell_id] = status
        finished = FinishedCell(self._writer.path, cell_id, status, cause)  # type: ignore[arg-type]
        self._registry.cell_finished(finished, self._watcher.say)

    # -- measuring -------------------------------------------------------------------------------

    def _groups(self, jobs: Sequence[tuple[PlannedCell, Job]]) -> list[list[tuple[PlannedCell, Job]]]:
        """Cells of one workload that fit into memory together; alone where turns are off.

        Where not all of them fit, those of one backend stay together as far as they do, and the
        workload's first uncompressed cell is the anchor of all groups.
        """
        if not self._protocol.turns:
            return [[job] for job in jobs]
        available = self._available_bytes
        room = _MEMORY_SHARE * available if available is not None else float("inf")
        needed = {cell.id: _needed(job) for cell, job in jobs}  # reads files: once for each
        by_work: dict[tuple[str, str], list[tuple[PlannedCell, Job]]] = {}
        for cell_and_job in sorted(jobs, key=lambda cell_and_job: _work_of(cell_and_job[0])):
            by_work.setdefault(_work_of(cell_and_job[0]), []).append(cell_and_job)
        return [
            group
            for cells in by_work.values()
            for group in fitting(
                cells, lambda cell_and_job: needed[cell_and_job[0].id], _backend_of, room, _anchor_of(cells)
            )
        ]

    def _measure(
        self,
        groups: Sequence[Sequence[tuple[PlannedCell, Job]]],
        judges: Mapping[str, Sequence[Judge]],
        references: References | None,
    ) -> None:
        baselines = IdleBaselines(self._accountant, self._protocol, self._watcher, self._owner)

        def begin(group: GroupRun) -> None:
            if self._quiet is not None:
                baselines.expire()
                self._quiet.wait(self._watcher.say)
            names = ", ".join(run.cell.label for run in group.runs)
            self._watcher.note(f"measuring in turns: {names}" if len(group.runs) > 1 else f"measuring {names}")
            if references is not None and references.prepare(
                run.cell.model for run in group.runs if run.job.judged and run.record.agreement_json is None
            ):
                baselines.expire()

        made = self._group_runs(groups, baselines, judges)
        self._watcher.cells([run for group in made for run in group.runs], self._protocol)
        needed_by = Counter(run for group in made for run in _members(group))

        def end(group: GroupRun) -> None:
            for run in _members(group):
                needed_by[run] -= 1
                if not needed_by[run]:
                    self._finish(run)

        try:
            take_legs(made, begin, end)
        except BaseException:
            for group in made:
                for run in group.runs:
                    run.leave()
            raise

    def _group_runs(
        self,
        groups: Sequence[Sequence[tuple[PlannedCell, Job]]],
        baselines: IdleBaselines,
        judges: Mapping[str, Sequence[Judge]],
    ) -> list[GroupRun]:
        runs = [
            [
                CellRun(job, CellRecord(cell, self._writer, self._accountant, self._resumed), owner=self._owner)
                for cell, job in group
            ]
            for group in groups
        ]
        rounds = Rounds([run for group in runs for run in group])
        anchors: dict[tuple[str, str], CellRun] = {}
        made: list[GroupRun] = []
        for group in runs:
            first = group[0].cell
            anchor = anchors.get(_work_of(first)) if self._protocol.turns else None
            anchors.setdefault(_work_of(first), group[0])
            # A seed of the group's own: the order of blocks does not depend on what ran before.
            rng = random.Random(f"{self._seed} {first.id}")  # noqa: S311  an order, no secret
            made.append(
                GroupRun(
                    group,
                    self._protocol,
                    self._accountant,
                    baselines,
                    self._watcher,
                    judges,
                    rng,
                    rounds,
                    anchor,
                    self._owner,
                )
            )
        return made

    def _finish(self, run: CellRun) -> None:
        workload = self._registry.workload(run.cell.workload_plugin)
        status = run.finish(lambda totals: dict(workload.quality(totals)))
        self._watcher.done(run, status)
        self._ended(run.cell.id, status, run.cause.message if run.cause else None)

    def _judges(self, references: References | None) -> dict[str, Sequence[Judge]]:
        """Who looks at the cells of each model, by its label. Agreement needs the quality."""
        text = self._scored_text()
        return {
            label: [
                *([] if text is None else [QualityJudge(text, ref.note)]),
                *([] if references is None else [AgreementJudge(references)]),
            ]
            for label, ref in self._plan.models.items()
        }

    def _scored_text(self) -> ScoredText | None:
        quality = self._profile.quality
        if quality is None:
            return None
        return ScoredText(quality.text, str(self._files.path(quality.text)), quality.tokens, quality.window)

    def _references(self) -> References | None:
        agreement = self._profile.agreement
        if agreement is None:
            return None
        return References(
            self._writer.path,
            self._plan.references,
            (agreement.prompts, self._files.path(agreement.prompts)),
            agreement.count,
            agreement.tokens,
            self._scored_text(),
            self._preparation.reference,
            self._watcher.say,
        )


def _needed(job: Job) -> float:
    """Bytes that a loaded cell is assumed to take."""
    artifact = job.artifact
    if artifact.format != CHECKPOINT_FORMAT:
        return _CONVERTED_FACTOR * artifact.size_bytes + _RUNTIME_BYTES
    return _BYTES_PER_PARAMETER * inspect_checkpoint(artifact.path).parameters + _RUNTIME_BYTES


def _backend_of(cell_and_job: tuple[PlannedCell, Job]) -> str:
    cell = cell_and_job[0]
    return f"{cell.backend} {cell.device} {sorted(cell.backend_settings.items())}"


def _anchor_of(cells: Sequence[tuple[PlannedCell, Job]]) -> tuple[PlannedCell, Job]:
    """The cell that all groups of one workload are held against: the first that is uncompressed."""
    uncompressed = (
        cell
        for cell in cells
        if not cell[0].runtime_steps and not any(step.kind == "technique" for step in cell[0].transforms)
    )
    return next(uncompressed, cells[0])


def _members(group: GroupRun) -> tuple[CellRun, ...]:
    return group.runs if group.anchor is None else (*group.runs, group.anchor)


def _by_place(step: Transform) -> dict[str, str]:
    """The versions that a step has; another interpreter's are told from this one's."""
    if step.python is None:
        return dict(step.versions)
    return {f"{name} ({step.python.title})": version for name, version in step.versions.items()}


def _work_of(cell: PlannedCell) -> tuple[str, str]:
    settings = {key: value for key, value in cell.workload_settings.items() if key != BATCH}
    return cell.workload, json.dumps(settings, sort_keys=True)
