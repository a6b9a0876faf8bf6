"""The plugins that come with joulebench keep the contracts that strangers' are held to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sysfs_in_place import in_place_of_sysfs

from joulebench.api import (
    ArtifactTechnique,
    BackendSession,
    Outcome,
    Recorder,
    Request,
    RuntimeTechnique,
    Settings,
    Workload,
    WorkloadContext,
)
from joulebench.registry.classes import KINDS
from joulebench.registry.loading import default_registry
from joulebench.testing import (
    ArtifactTechniqueContract,
    BackendContract,
    ConverterContract,
    ProbeContract,
    RendererContract,
    RuntimeTechniqueContract,
    Subject,
    WorkloadContract,
    stub_nvml,
)
from joulebench.testing.contracts import CONTRACTS, PluginContract
from joulebench.testing.contracts.base import subject_of
from joulebench.testing.hwmon import Chip, FakeTemperatures, HwmonSensor, ThrottleCounts
from joulebench.testing.powercap import FakePowercap, intel_zones
from joulebench.testing.sessions import ScriptedSession
from joulebench.testing.stub_nvml import StubGpus

BIGRAM: Final = Path(__file__).parents[1] / "plugin_examples" / "bigram" / "bigram.c"

#: Settings that make a technique act on a model as small as the contracts'.
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "prune-structured": {"keep_mlp": 0.5},
    "torch-int4-weight-only": {"head": False},
    "kv-window": {"budget": 8},
    "kv-h2o": {"budget": 8},
    "kv-tova": {"budget": 8},
    "kv-snapkv": {"budget": 8, "window": 4},
    "kv-expected-attention": {"budget": 8},
    "serve": {"trace": str(Path(__file__).with_name("load.jsonl"))},
}

#: Enough of a calibration text for a model as small as that.
SHORT_TEXT: Final = {"sequences": 2, "length": 64}


def shipped(kind: str) -> list[str]:
    registry = default_registry()
    return [name for name in registry.names(kind) if registry.distribution_of(kind, name) == "joulebench"]


def made(kind: str, name: str, **more: Any) -> Subject[Any]:
    plugin = default_registry().make(kind, name)
    short = {option.name: SHORT_TEXT[option.name] for option in plugin.options if option.name in SHORT_TEXT}
    return Subject(plugin, {**short, **SETTINGS.get(name, {})}, **more)


def test_every_kind_has_a_contract() -> None:
    assert set(CONTRACTS) == set(KINDS)


@pytest.mark.parametrize("kind", list(KINDS))
def test_something_of_every_kind_is_held_to_it(kind: str) -> None:
    assert shipped(kind)


@pytest.fixture(scope="module")
def bigram(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("bigram") / "bigram"
    subprocess.run([compiler, "-O1", "-o", program, BIGRAM, "-lm"], check=True)
    return str(program)


#: Claims about abilities that some backends do not have, each with those of which it asks one.
ABILITIES: Final[Mapping[str, frozenset[str]]] = {
    "test_an_embedding_is_numbers": frozenset({"encode"}),
    "test_a_train_step_gives_its_loss": frozenset({"train"}),
    "test_kernels_run": frozenset({"hardware", "operators"}),
}


def backends(claim: str) -> list[str]:
    """The backends that a claim is about."""
    made_backends = map(default_registry().backend, shipped("backend"))
    asked = ABILITIES.get(claim)
    return [b.name for b in made_backends if asked is None or asked & b.abilities(b.default_settings())]


class TestBackends(BackendContract):
    @staticmethod
    def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
        metafunc.parametrize("plugin", backends(metafunc.function.__name__), indirect=True)

    @pytest.fixture
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        if request.param == "command":
            program = request.getfixturevalue("bigram")
            return Subject(default_registry().backend("command"), {"command": [program]})
        return made("backend", request.param)


@pytest.mark.parametrize("claim", ABILITIES)
def test_every_ability_is_tried_on_some_backend(claim: str) -> None:
    assert callable(getattr(BackendContract, claim))
    assert backends(claim)


def techniques(base: type) -> list[str]:
    return [name for name in shipped("technique") if isinstance(default_registry().technique(name), base)]


class TestArtifactTechniques(ArtifactTechniqueContract):
    @pytest.fixture(params=techniques(ArtifactTechnique))
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        return made("technique", request.param)


#: Techniques that need a library which only tests apart have.
APART: Final = frozenset({"torch-int8-weight-only", "torch-int4-weight-only"})


class TestRuntimeTechniques(RuntimeTechniqueContract):
    @staticmethod
    def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
        in_session = "session" in metafunc.function.__name__ and "evidence" in metafunc.function.__name__
        metafunc.parametrize(
            "plugin",
            [
                pytest.param(name, marks=pytest.mark.apart if in_session and name in APART else ())
                for name in techniques(RuntimeTechnique)
            ],
            indirect=True,
        )

    @pytest.fixture
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        return made("technique", request.param)


def test_every_technique_acts_on_files_or_at_run_time() -> None:
    assert sorted(techniques(ArtifactTechnique) + techniques(RuntimeTechnique)) == sorted(shipped("technique"))


class TestConverters(ConverterContract):
    def test_the_same_source_gives_the_same_files(
        self, plugin: Any, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        if subject_of(plugin).plugin.name == "ort-format":
            why = "onnxruntime orders the parts of an .ort file anew each time"
            request.applymarker(pytest.mark.xfail(reason=why, strict=True))
        super().test_the_same_source_gives_the_same_files(plugin, tmp_path)

    @pytest.fixture(params=shipped("converter"))
    def plugin(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        if request.param != "shape-init":
            return made("converter", request.param)
        shape = tmp_path / "shape"
        shape.mkdir()
        catalogue = default_registry().profile_dirs()
        from joulebench.models.catalogue import read_catalogue

        config = read_catalogue(catalogue).shapes["tiny-llama"].config
        (shape / "config.json").write_text(json.dumps(dict(config)))
        (shape / "seed.json").write_text('{"seed": 1}')
        return made("converter", "shape-init", source=shape)


@contextmanager
def _powercap(folder: Path) -> Iterator[Mapping[str, Any]]:
    with FakePowercap(folder, intel_zones()) as tree, tree.live():
        yield {"root": str(tree.root)}


@contextmanager
def _thermal(folder: Path) -> Iterator[Mapping[str, Any]]:
    chip = Chip("coretemp", [HwmonSensor("Package id 0", 47.0)])
    with FakeTemperatures(folder, [chip], processors={0: ThrottleCounts(0, 0)}) as tree:
        yield {"root": str(tree.root), "cpu_root": str(tree.cpu_root)}


@contextmanager
def _rail(_folder: Path) -> Iterator[Mapping[str, Any]]:
    yield {"scenario": "constant"}


#: Sensors in place of those that a machine may lack.
SENSORS: Final[Mapping[str, Callable[[Path], AbstractContextManager[Mapping[str, Any]]]]] = {
    "rapl": _powercap,
    "thermal": _thermal,
    "rail": _rail,
}
#: Their libraries look for the sensor in one place: they are held to the contract in a process that has one there.
ELSEWHERE: Final = frozenset({"nvml", "pyrapl"})
#: Probes that have no counter, by their nature.
GAUGES: Final = frozenset({"memory", "perf"})
#: Claims that need no sensor.
WITHOUT_SENSOR: Final = frozenset(
    {name for name in vars(PluginContract) if name.startswith("test_")}
    | {"test_it_says_whether_it_can_be_read_and_why_not"}
)


def absence(name: str) -> str | None:
    """Why the probe has no sensor here, real or in its place."""
    probe = default_registry().probe(name)
    if name in SENSORS:
        return None
    availability = probe.inspect(Subject(probe).complete_settings())
    return None if availability.ok else availability.reason


def probes(claim: str) -> list[str]:
    """The probes that a claim is about and can be tried on."""
    names = shipped("probe")
    if claim not in WITHOUT_SENSOR:
        names = [name for name in names if name not in ELSEWHERE and absence(name) is None]
    return [name for name in names if "counter" not in claim or name not in GAUGES]


class TestProbes(ProbeContract):
    @staticmethod
    def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
        metafunc.parametrize("plugin", probes(metafunc.function.__name__), indirect=True)

    @pytest.fixture
    def plugin(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
        probe = default_registry().probe(request.param)
        sensor = SENSORS.get(request.param)
        if sensor is None:
            yield probe
            return
        with sensor(tmp_path) as settings:
            yield Subject(probe, settings)


@pytest.mark.parametrize("name", sorted(set(shipped("probe")) - set(SENSORS) - ELSEWHERE))
def test_a_probe_that_is_not_tried_has_no_sensor_here(name: str) -> None:
    reason = absence(name)
    if reason is not None:
        pytest.skip(f"the probe {name} has no sensor here: {reason}")
    assert name in probes("test_its_channels_can_be_read")


CONTRACT_OF_A_PROBE: Final = """
import pytest
from joulebench.registry.loading import default_registry
from joulebench.testing import ProbeContract, Subject

class TestProbe(ProbeContract):
    @pytest.fixture
    def plugin(self):
        return Subject(default_registry().probe({name!r}), {settings!r})
"""


def hold_to_contract(
    folder: Path, name: str, settings: Mapping[str, Any], wrapped: Callable[[list[str]], list[str]]
) -> None:
    """Run the contract of a probe in a process of its own; each of its claims holds and none is skipped."""
    (folder / "test_it.py").write_text(CONTRACT_OF_A_PROBE.format(name=name, settings=dict(settings)), "utf-8")
    command = wrapped(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout
    claims = [claim for claim in dir(ProbeContract) if claim.startswith("test_")]
    assert f"{len(claims)} passed" in done.stdout
    assert "skipped" not in done.stdout


def test_nvml_keeps_the_contract_over_a_stub_of_its_library(tmp_path: Path) -> None:
    pytest.importorskip("pynvml")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    stub_nvml.build(tmp_path)
    gpus = StubGpus(tmp_path)
    gpus.set(watts=70.0, energy_mj=5_000_000, celsius=50, sm_mhz=1000, memory_mhz=1000, used_bytes=1e9)
    gpus.count_from_now()
    variables = [f"{key}={value}" for key, value in gpus.environment().items()]
    hold_to_contract(tmp_path, "nvml", {}, lambda command: ["env", *variables, *command])


def test_pyrapl_keeps_the_contract_over_a_tree_in_place_of_sysfs(tmp_path: Path) -> None:
    pytest.importorskip("pyRAPL")
    classes = tmp_path / "class"
    (classes / "powercap").mkdir(parents=True)
    with FakePowercap(classes / "powercap", intel_zones(), layout="nested") as tree, tree.live():
        hold_to_contract(tmp_path, "pyrapl", {"enabled": True}, lambda command: in_place_of_sysfs(classes, command))


class TestWorkloads(WorkloadContract):
    @pytest.fixture(params=shipped("workload"))
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        return made("workload", request.param)


class BatchSession(ScriptedSession):
    """Answers several prompts at once, which no backend of joulebench does."""

    def prefill_batch(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        return [self.prefill(prompt) for prompt in prompts]


class Batch(Workload):
    """Each request's two halves as prompts of one batch."""

    name, summary, unit, phases = "batch", "two prompts at once", "sequence", ("prefill",)

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        return [Request(0, (1, 2, 3, 4))]

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        record.phase("prefill")
        half = len(request.tokens) // 2
        session.prefill_batch([request.tokens[:half], request.tokens[half:]])  # type: ignore[attr-defined]
        return Outcome(prefill_tokens=len(request.tokens), units=2)


class TestAWorkloadOnASessionOfItsOwn(WorkloadContract):
    @pytest.fixture
    def plugin(self) -> Subject[Batch]:
        return Subject(Batch(), session=BatchSession)


class TestRenderers(RendererContract):
    @pytest.fixture(params=shipped("renderer"))
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        return made("renderer", request.param)
