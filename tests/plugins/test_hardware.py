"""The hardware workloads: array sizes by the caches, repetition, what a request records."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from joulebench.api import BackendSession, Kernel, MemoryUse, Outcome, Request, Settings
from joulebench.errors import PluginError
from joulebench_plugins.hardware import caches
from joulebench_plugins.hardware.bandwidth import Bandwidth
from joulebench_plugins.hardware.launch import Launch
from joulebench_plugins.hardware.operators import NAMES, Operators
from joulebench_plugins.hardware.products import MatMul, MatVec
from joulebench_plugins.hardware.repeating import RepeatedKernel

if TYPE_CHECKING:
    from conftest import Cli

MIB = 2**20


@dataclass
class Session(BackendSession):
    """Kernels that note what is asked of them, and sleep through no time at all."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    ran: list[tuple[str, int]] = field(default_factory=list)

    def memory(self) -> MemoryUse:
        return MemoryUse()

    def hardware_kernel(self, name: str, size: int) -> Kernel:
        self.asked.append((name, size))
        return self.kernel(name, 100, 40, 0)

    def operators(self, context: int) -> Sequence[Kernel]:
        self.asked.append(("operators", context))
        return [self.kernel("q_proj", 10, 4, 3), self.kernel("head", 50, 100, 1)]

    def kernel(self, name: str, moved: int, operations: int, per_token: int) -> Kernel:
        return Kernel(name, lambda times: self.ran.append((name, times)), moved, operations, per_token)


class Recorder:
    """Takes nothing down."""

    def phase(self, name: str) -> None:
        raise AssertionError("a kernel has no phases")

    def token(self) -> None:
        raise AssertionError("a kernel has no tokens")


def done(workload: RepeatedKernel, session: BackendSession, settings: Settings) -> Outcome:
    complete = {**workload.default_settings(), "seconds": 0.01, **settings}
    workload.setup(session, Request(0), complete)
    return workload.perform(session, Request(0), complete, Recorder())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock finds a millisecond gone: a trial of any length takes that long."""
    now = iter(range(10**6))
    monkeypatch.setattr("joulebench_plugins.hardware.repeating.time.perf_counter", lambda: next(now) * 1e-3)


def cache(root: Path, cpu: int, index: int, level: int, size: str, shared: str, kind: str = "Unified") -> None:
    folder = root / f"cpu{cpu}" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, text in (("type", kind), ("level", str(level)), ("size", size), ("shared_cpu_list", shared)):
        (folder / name).write_text(f"{text}\n")


def test_the_last_level_is_added_over_sockets_and_counted_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    for cpu, shared in ((0, "0-1"), (1, "0-1"), (2, "2")):
        cache(tmp_path, cpu, 0, 1, "64K", str(cpu), "Instruction")
        cache(tmp_path, cpu, 2, 2, "2048K", str(cpu))
        cache(tmp_path, cpu, 3, 3, "32M", shared)
    assert caches.last_level_cache_bytes(tmp_path) == 64 * MIB


def test_a_kernel_that_tells_no_caches_leaves_them_unknown(tmp_path: Path) -> None:
    assert caches.last_level_cache_bytes(tmp_path) is None
    assert caches.memory_available_bytes(tmp_path / "none") is None


def test_an_array_is_four_times_the_caches_within_an_eighth_of_memory() -> None:
    assert caches.array_bytes(100 * MIB, 64 * 1024 * MIB) == 400 * MIB
    assert caches.array_bytes(None, 64 * 1024 * MIB) == 256 * MIB
    assert caches.array_bytes(100 * MIB, 1024 * MIB) == 128 * MIB


@pytest.fixture
def cache_of_100_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "last_level_cache_bytes", lambda: 100 * MIB)
    monkeypatch.setattr(caches, "memory_available_bytes", lambda: 64 * 1024 * MIB)


@pytest.mark.usefixtures("cache_of_100_mib")
def test_an_array_within_the_caches_is_refused_with_the_size_that_works() -> None:
    reason = Bandwidth().check({"pattern": "read", "size": 99 * MIB})
    assert reason is not None
    assert "99 MiB" in reason
    assert "set size to 400 MiB" in reason
    assert Bandwidth().check({"pattern": "read", "size": 101 * MIB}) is None
    assert Bandwidth().check({"pattern": "read"}) is None


@pytest.mark.usefixtures("cache_of_100_mib")
def test_too_little_memory_is_refused_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "memory_available_bytes", lambda: 400 * MIB)
    assert "free memory" in (Bandwidth().check({"pattern": "read"}) or "")


@pytest.mark.usefixtures("cache_of_100_mib", "clock")
def test_a_bandwidth_request_tells_its_bytes_array_and_cache() -> None:
    session = Session()
    outcome = done(Bandwidth(), session, {"pattern": "triad"})
    assert session.asked == [("triad", 400 * MIB)]
    # A trial of one run took 1 ms; ten fit into 10 ms, each of 100 bytes.
    assert outcome.units == 1000
    assert outcome.values == {
        "kernel_runs": 10,
        "kernel_bytes": 100,
        "kernel_operations": 40,
        "array_bytes": 400 * MIB,
        "cache_bytes": 100 * MIB,
    }


@pytest.mark.usefixtures("clock")
def test_a_run_of_many_together_counts_each_of_them() -> None:
    class Layers(Session):
        def operators(self, context: int) -> Sequence[Kernel]:
            return [replace(self.kernel("q_proj", 10, 4, 6), together=3)]

    one = done(Operators(), session := Layers(), {"operator": "q_proj"})
    assert session.ran[-1] == ("q_proj", 10)
    assert (one.units, one.values["kernel_runs"], one.values["kernel_bytes"]) == (30, 30, 10)
    assert one.values["kernel_per_token"] == 6
    whole = done(Operators(), session := Layers(), {"operator": "all"})
    assert session.ran[-1] == ("q_proj", 2)
    assert (whole.units, whole.values["kernel_bytes"]) == (10, 60)


@pytest.mark.usefixtures("clock")
def test_the_trial_is_made_once_and_outside_of_the_request() -> None:
    session, workload = Session(), Launch()
    first = done(workload, session, {})
    ran = len(session.ran)
    second = done(workload, session, {})
    assert session.asked == [("launch", 0)]
    assert len(session.ran) == ran + 1
    assert first == second
    assert first.units == 10


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("workload", [MatMul(), MatVec()])
def test_a_product_counts_operations(workload: RepeatedKernel) -> None:
    session = Session()
    outcome = done(workload, session, {"size": 64})
    assert session.asked == [(workload.name, 64)]
    assert outcome.units == 10 * 40


@pytest.mark.usefixtures("clock")
def test_an_operator_is_found_by_name_and_counts_calls() -> None:
    session = Session()
    outcome = done(Operators(), session, {"operator": "q_proj", "context": 7})
    assert session.asked == [("operators", 7)]
    assert outcome.units == 10
    assert outcome.values["kernel_per_token"] == 3
    assert outcome.values["kernel_bytes"] == 10


@pytest.mark.usefixtures("clock")
def test_all_operators_are_one_token() -> None:
    session = Session()
    outcome = done(Operators(), session, {})
    assert outcome.values["kernel_bytes"] == 3 * 10 + 50
    assert outcome.values["kernel_operations"] == 3 * 4 + 100
    assert session.ran[-2:] == [("q_proj", 3), ("head", 1)]


def test_an_operator_that_the_backend_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(PluginError, match="no operator 'rotary'") as caught:
        done(Operators(), Session(), {"operator": "rotary"})
    assert "q_proj, head" in str(caught.value)


def test_torch_offers_every_operator(tiny_checkpoint: Path) -> None:
    pytest.importorskip("torch")
    from joulebench.api import Artifact
    from joulebench_plugins.torch.backend import TorchBackend

    with TorchBackend().open(Artifact("hf", tiny_checkpoint, "", 0), "cpu", {"threads": 1}) as session:
        assert {operator.name for operator in session.operators(8)} == set(NAMES)
        outcome = done(Operators(), session, {"context": 8})
    assert outcome.units >= 1
    assert outcome.values["kernel_per_token"] == 1


PROFILE = """
version = 1
[model.tiny]
source = "path:{model}"
[backend.torch]
threads = 1
[workload.matmul]
size = 64
seconds = 0.01
[workload.operators]
operator = ["q_proj"]
context = 8
seconds = 0.01
[workload.prefill]
length = 16
[protocol]
processes = 1
min_blocks = 2
max_blocks = 2
block_s = 0.01
warmup_min_s = 0.01
idle_s = 0.1
[sampler]
calibrate_s = 0.1
"""


@pytest.mark.slow
def test_a_run_has_the_share_of_its_own_limits(tiny_checkpoint: Path, tmp_path: Path, cli: Cli) -> None:
    pytest.importorskip("torch")
    profile = tmp_path / "limits.toml"
    profile.write_text(PROFILE.format(model=tiny_checkpoint))
    ran = cli("run", profile, "--output", tmp_path / "out", "--no-report")
    assert ran.code == 0, ran.stderr
    (session,) = (tmp_path / "out").iterdir()
    report = json.loads(cli("report", session, "--format", "json").stdout)
    cells = {cell["workload"]: cell for cell in report["cells"]}
    assert cells["matmul"]["headline"]["unit"] == "J/TFLOP"
    assert cells["prefill"]["mfu"]["value"] > 0
    assert cells["prefill"]["mbu"]["reason_if_null"] == "no decode phase"
    (table,) = report["operators"]
    (line,) = table["lines"]
    assert (line["name"], line["per_token"]) == ("q_proj", 2)
    assert line["bandwidth_gb_s"] > 0


def test_a_misspelt_operator_is_wrong_use(tiny_checkpoint: Path, tmp_path: Path, cli: Cli) -> None:
    profile = tmp_path / "wrong.toml"
    profile.write_text(PROFILE.format(model=tiny_checkpoint).replace("q_proj", "qproj"))
    answer = cli("plan", profile)
    assert answer.code == 2
    assert "did you mean 'q_proj'?" in answer.stderr
