"""The plugins that come with joulebench keep the contracts that strangers' are held to."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from joulebench.registry.classes import KINDS
from joulebench.registry.loading import default_registry
from joulebench.testing import (
    BackendContract,
    ConverterContract,
    ProbeContract,
    RendererContract,
    Subject,
    TechniqueContract,
    WorkloadContract,
)
from joulebench.testing.contracts import CONTRACTS
from joulebench.testing.contracts.base import subject_of
from joulebench.testing.hwmon import Chip, FakeTemperatures, Sensor
from joulebench.testing.powercap import FakePowercap, intel_zones

BIGRAM: Final = Path(__file__).parents[1] / "plugin_examples" / "bigram" / "bigram.c"

#: Settings that make a technique act on a model as small as the contracts'.
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "prune-structured": {"keep_mlp": 0.5},
    "kv-window": {"budget": 8},
    "kv-h2o": {"budget": 8},
    "kv-tova": {"budget": 8},
    "kv-snapkv": {"budget": 8, "window": 4},
    "kv-expected-attention": {"budget": 8},
}


def shipped(kind: str) -> list[str]:
    registry = default_registry()
    return [name for name in registry.names(kind) if registry.distribution_of(kind, name) == "joulebench"]


def made(kind: str, name: str, **more: Any) -> Subject[Any]:
    return Subject(default_registry().make(kind, name), SETTINGS.get(name, {}), **more)


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


class TestBackends(BackendContract):
    @pytest.fixture(params=shipped("backend"))
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        if request.param == "command":
            program = request.getfixturevalue("bigram")
            return Subject(default_registry().backend("command"), {"command": [program]})
        return made("backend", request.param)


class TestTechniques(TechniqueContract):
    @pytest.fixture(params=shipped("technique"))
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        return made("technique", request.param)


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
    chip = Chip("coretemp", [Sensor("Package id 0", 47.0)])
    with FakeTemperatures(folder, [chip]) as tree:
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


class TestProbes(ProbeContract):
    @pytest.fixture(params=shipped("probe"))
    def plugin(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
        probe = default_registry().probe(request.param)
        sensor = SENSORS.get(request.param)
        if sensor is None:
            yield probe
            return
        with sensor(tmp_path) as settings:
            yield Subject(probe, settings)


class TestWorkloads(WorkloadContract):
    @pytest.fixture(params=shipped("workload"))
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        return made("workload", request.param)


class TestRenderers(RendererContract):
    @pytest.fixture(params=shipped("renderer"))
    def plugin(self, request: pytest.FixtureRequest) -> Any:
        return made("renderer", request.param)
