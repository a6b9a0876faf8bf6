"""An A/A test: the same cell twice under two names, to see what this machine can tell apart.

The whole product takes part: workers, sampler, turns, session, comparison. Two equal cells must
not be found different; and the smallest difference that would have been found says what this
machine, as it is now, can resolve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from joulebench.api import PROVENANCES, Availability
from joulebench.errors import JoulebenchError, NothingRanError, UnavailableError
from joulebench.meter.comparison import CellBlocks, CellComparison, compare
from joulebench.meter.stopping import counting
from joulebench.meter.windows import TOTAL
from joulebench.models.catalogue import read_catalogue
from joulebench.plan.cells import Plan
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import Choice, Profile, parse_profile, read_profile
from joulebench.profile.shellpaths import from_shell
from joulebench.profile.shipped import find_profile
from joulebench.registry.availability import availability_of
from joulebench.registry.loading import Registry
from joulebench.runs.instruments import set_up
from joulebench.runs.runner import Run
from joulebench.runs.spread import RunSpread, spread_of_runs
from joulebench.runs.turns import Watcher
from joulebench.session import Session
from joulebench.session.conversion import known
from joulebench.session.tables import BlockRow, CellRow, EnergyRow

#: Above this smallest detectable difference there is advice.
RESOLVES: Final = 0.02
#: The two names of the one cell.
LABELS: Final = ("a", "b")
#: A device of this name computes what other hardware would have taken: no test of this machine.
_SIMULATED: Final = "simulated"
_MODEL: Final = "shape:tiny-llama"
#: Weights that no cache holds: programs then differ as they do on real models.
_LARGER_MODEL: Final = "shape:llama-gqa-untied"
_PROFILE: Final = """version = 1
name = "selftest"
[model.random]
source = "{model}"
{backends}
[workload.{workload}]
[protocol]
processes = 3
min_blocks = 24
max_blocks = 24
block_s = 0.4
time_budget_s = 20
idle_s = 2
warmup_min_s = 1
warmup_max_s = 10
[sampler]
calibrate_s = 1
"""


@dataclass(frozen=True, slots=True)
class SelfComparison:
    """A against B in one quantity; ``unit`` as ``s/token`` or ``J/token``."""

    quantity: str
    unit: str
    provenance: str | None
    comparison: CellComparison

    @property
    def false_difference(self) -> bool:
        """Whether two equal cells were found different."""
        return self.comparison.verdict in ("lower", "higher")


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the A/A test found."""

    cell: str
    blocks: int
    compared: tuple[SelfComparison, ...]

    def good(self) -> bool:
        """No difference was found where there is none."""
        return not any(pair.false_difference for pair in self.compared)


def twin_profile(registry: Registry, name: str | None = None, overrides: Sequence[str] = ()) -> Profile:
    """The profile's first model, backend and workload as two equal cells, ``a`` and ``b``.

    Without a name: a small model of random weights on the first backend that works here.
    """
    if name is None:
        backend_name = _working_backends(registry)[0]
        read = _own_profile(registry, _MODEL, [backend_name], overrides)
    else:
        read = _named_profile(registry, name, overrides)
    backend = _with_first_settings(read.backends[0])
    return _narrowed(read, [replace(backend, label=label) for label in LABELS])


def pair_profile(registry: Registry, name: str | None = None, overrides: Sequence[str] = ()) -> Profile:
    """Two cells whose ratio is measured run after run: the same work on two backends.

    The first two of the profile, or the first two that work here on a model of random weights that
    no cache holds. With one backend alone, its cell twice.
    """
    if name is None:
        working = _working_backends(registry)
        workload = _first_workload(registry, working[0])
        able = [backend for backend in working if _can_do(registry, backend, workload)]
        read = _own_profile(registry, _LARGER_MODEL, able[:2], overrides)
    else:
        read = _named_profile(registry, name, overrides)
    backends = [_with_first_settings(backend) for backend in read.backends[:2]]
    if len(backends) == 1:
        backends = [replace(backends[0], label=label) for label in LABELS]
    return _narrowed(read, backends)


def _own_profile(registry: Registry, model: str, backends: Sequence[str], overrides: Sequence[str]) -> Profile:
    tables = "\n".join(f"[backend.{backend}]" for backend in backends)
    text = _PROFILE.format(model=model, backends=tables, workload=_first_workload(registry, backends[0]))
    return parse_profile(text, "selftest", Path.cwd(), overrides, registry.profile_dirs())


def _named_profile(registry: Registry, name: str, overrides: Sequence[str]) -> Profile:
    folders = registry.profile_dirs()
    file = find_profile(name, folders)
    return read_profile(file, from_shell(overrides, registry, file.resolve().parent), folders)


def _with_first_settings(backend: Choice) -> Choice:
    settings = {key: _first(value) for key, value in backend.settings.items()}
    return replace(backend, settings=settings, devices=backend.devices[:1])


def _narrowed(read: Profile, backends: Sequence[Choice]) -> Profile:
    """The profile with these backends, and the first of all else."""
    workload = read.workloads[0]
    single = {key: _first(value) for key, value in workload.settings.items()}
    return replace(
        read,
        models=read.models[:1],
        backends=tuple(backends),
        techniques=read.techniques[:1],
        workloads=(replace(workload, settings=single),),
        include=(),
        exclude=(),
        quality=None,
        measurement=replace(read.measurement, turns=True),
    )


def _first(value: Any) -> Any:
    """The first of an axis."""
    return value[0] if isinstance(value, list) and value else value


def _working_backends(registry: Registry) -> list[str]:
    """Backends that compute on this machine, in the registry's order."""
    reasons, working = [], []
    for name in registry.names("backend"):
        backend = registry.backend(name)
        availability = availability_of(backend)
        if availability.ok and not backend.capabilities:
            availability = Availability.no("does nothing without settings of a profile")
        if availability.ok and all(device.name == _SIMULATED for device in backend.devices()):
            availability = Availability.no("computes for hardware that is not here")
        if availability.ok:
            working.append(name)
        else:
            reasons.append(f"{name}: {availability.reason}")
    if not working:
        raise UnavailableError(
            "no backend works here" + "".join(f"\n  {reason}" for reason in reasons),
            hint="'joulebench doctor' says what to install",
        )
    return working


def _can_do(registry: Registry, backend: str, workload: str) -> bool:
    made = registry.backend(backend)
    requires = registry.workload(workload).requires
    return bool(requires) and requires <= made.abilities(made.default_settings())


def _first_workload(registry: Registry, backend: str) -> str:
    """The first workload that makes the backend work and that it can do."""
    for name in registry.names("workload"):
        if _can_do(registry, backend, name):
            return name
    raise UnavailableError(f"no installed workload suits the backend '{backend}'")


def measure_spread(profile: Profile, registry: Registry, folder: Path, watcher: Watcher, runs: int) -> list[RunSpread]:
    """The spread of the ratio of two cells over so many runs: in time, and in measured energy."""
    results = []
    for number in range(runs):
        watcher.say(f"run {number + 1} of {runs}")
        own = folder / f"run-{number}"
        own.mkdir()
        results.append(run_twins(profile, registry, own, watcher))
    labels = [backend.label for backend in profile.backends]
    spreads = []
    for place, first in enumerate(results[0].compared):
        comparisons = [result.compared[place].comparison for result in results if len(result.compared) > place]
        ratios = [comparison.ratio for comparison in comparisons if comparison.ratio is not None]
        uncertainties = [comparison.blocks_u_log for comparison in comparisons if comparison.blocks_u_log is not None]
        if first.provenance not in (None, "measured") or not len(ratios) == len(uncertainties) == runs:
            continue
        spreads.append(spread_of_runs(ratios, uncertainties, (labels[0], labels[1]), first.quantity))
    if not spreads:
        raise NothingRanError("the runs gave no ratio whose spread could be told")
    return spreads


def run_twins(profile: Profile, registry: Registry, folder: Path, watcher: Watcher) -> SelfTest:
    """Measure the two equal cells into a session in ``folder`` and compare them."""
    folders = registry.profile_dirs()
    catalogue = read_catalogue(folders)
    plan = make_plan(profile, registry, catalogue, folders)
    _check(plan)
    instruments = set_up(registry, profile, watcher.say)
    Run(profile, plan, registry, catalogue, folder, instruments, watcher).execute()
    return judge(Session(folder))


def _check(plan: Plan) -> None:
    runnable = plan.runnable
    if len(runnable) < len(LABELS):
        reasons = {cell.reason for cell in plan.cells if cell.reason}
        raise UnavailableError("the cell cannot run here: " + "; ".join(sorted(reasons)))
    if len(runnable) > len(LABELS):
        raise JoulebenchError(
            f"the profile gives {len(runnable)} cells, not one twice",
            where="--profile",
            hint="narrow it with --set, for example one device or one choice of a technique",
        )


def judge(session: Session) -> SelfTest:
    """Compare the two cells of an A/A session in time and, where there is any, in energy."""
    rows = session.rows(CellRow)
    failed = next((row for row in rows if row.status != "ok"), None)
    if failed is not None or len(rows) != len(LABELS):
        cause = failed.cause if failed else "a cell has no record"
        raise NothingRanError(f"a cell of the self-test failed: {cause}")
    tables = [_BlocksOf(session, row.cell_id) for row in rows]
    unit = rows[0].unit
    compared = [SelfComparison("time", f"s/{unit}", None, compare(tables[0].times(), tables[1].times(), start_u=0.0))]
    for provenance in PROVENANCES:
        energies = [t.energies(provenance) for t in tables]
        if all(energy is not None for energy in energies):
            a, b = (energy for energy in energies if energy is not None)
            compared.append(SelfComparison("energy", f"J/{unit}", provenance, compare(a, b, start_u=0.0)))
    cell = f"{rows[0].workload} of {rows[0].model} on {rows[0].device}"
    return SelfTest(cell, min(len(t.blocks) for t in tables), tuple(compared))


class _BlocksOf:
    """The blocks of one cell that count, in their order."""

    def __init__(self, session: Session, cell_id: str) -> None:
        self._where = f"{session.path}: blocks of {cell_id}"
        rows = session.rows(BlockRow, cell_id)
        self.blocks = [rows[place] for place in counting([known(row.round, "round", self._where) for row in rows])]
        self._energy: dict[tuple[str, int], list[float | None]] = {}
        for row in session.rows(EnergyRow, cell_id):
            if row.counted and row.phase == TOTAL:
                self._energy.setdefault((row.provenance, row.block), []).append(row.gross_j)

    def times(self) -> CellBlocks:
        """Seconds of each block."""
        return self._with([known(row.duration_s, "duration_s", self._where) for row in self.blocks])

    def energies(self, provenance: str) -> CellBlocks | None:
        """Joules of each block over the counted channels; ``None`` where a block has none."""
        sums = []
        for row in self.blocks:
            parts = self._energy.get((provenance, row.block), [])
            joules = [part for part in parts if part is not None]
            if not joules or len(joules) < len(parts):
                return None
            sums.append(math.fsum(joules))
        return self._with(sums)

    def _with(self, values: list[float]) -> CellBlocks:
        return CellBlocks(
            values,
            [known(row.units, "units", self._where) for row in self.blocks],
            [known(row.round, "round", self._where) for row in self.blocks],
            [row.process for row in self.blocks],
            [known(row.start_utc, "start_utc", self._where).timestamp() for row in self.blocks],
        )


def advice(selftest: SelfTest) -> list[str]:
    """What would let this machine resolve more; empty where it resolves 2 %."""
    coarse = [
        pair.comparison
        for pair in selftest.compared
        if pair.comparison.smallest_detectable is None or pair.comparison.smallest_detectable > RESOLVES
    ]
    if not coarse and selftest.good():
        return []
    lines = []
    if not selftest.good():
        lines.append(
            "equal cells in one process each differ by memory layout and placement: --set protocol.processes=3"
        )
    lines.append(
        "longer blocks (--set protocol.block_s=2) and more of them (--set protocol.max_blocks=80) average more"
    )
    lines.append("a quieter machine: end other work, fix the CPU frequency, use mains power")
    return lines
