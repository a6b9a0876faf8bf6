"""README's tables of what runs where are what `joulebench plan` makes of a model, and of each technique."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from doc_pages import ROOT

from joulebench.models.catalogue import read_catalogue
from joulebench.plan.cells import PlannedCell
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry
from joulebench.testing.models import write_tiny_checkpoint

_README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
_BACKENDS: Final = ("torch", "llamacpp", "onnx", "onnx-mobile", "openvino", "fpga")
#: What some techniques cannot do without.
_NEEDED: Final = {"prune-structured": 'keep_mlp = "75%"'}
#: Libraries that are not in every installation, by what a plan says then.
_ABSENT: Final = re.compile(r"not installed|environment '\S+' is missing")


def _planned(folder: Path, text: str) -> list[PlannedCell]:
    registry = default_registry()
    folders = registry.profile_dirs()
    backends = "".join(f"[backend.{name}]\n" for name in _BACKENDS)
    profile = parse_profile(f"version = 1\n[workload.generate]\n{backends}{text}", "support", folder, (), folders)
    return list(make_plan(profile, registry, read_catalogue(folders), folders).cells)


def _table(first: str) -> dict[str, list[str]]:
    """Rows of README's table whose header begins with this word: what is in the first cell, and the others."""
    text = _README.partition(f"\n| {first} | `torch` |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same checkpoint under the names of several types."""
    folder = tmp_path_factory.mktemp("models")
    for kind, architecture in (
        ("llama", "LlamaForCausalLM"),
        ("mistral", "MistralForCausalLM"),
        ("qwen3", "Qwen3ForCausalLM"),
    ):
        config = write_tiny_checkpoint(folder / kind) / "config.json"
        described = json.loads(config.read_text())
        config.write_text(json.dumps({**described, "model_type": kind, "architectures": [architecture]}))
    return folder


def test_the_models_that_run_on_a_backend_are_those_of_the_table(models: Path) -> None:
    llama, others, *_ = _table("model").values()
    for kind, row in (("llama", llama), ("mistral", others), ("qwen3", others)):
        # One column is of both ONNX backends.
        stated = dict(zip(_BACKENDS, [*row[:3], *row[2:]], strict=True))
        for cell in _planned(models, f'[model.{kind}]\nsource = "path:{kind}"\n'):
            assert (cell.reason is None) == stated[cell.backend].startswith("yes"), (kind, cell.backend, cell.reason)


def test_a_gguf_file_runs_where_the_table_says_so_and_on_llama_cpp_as_it_is(models: Path) -> None:
    pytest.importorskip("gguf")
    from joulebench_plugins.gguf.export import GgufExport

    written = models / "gguf"
    written.mkdir()
    GgufExport().convert(models / "llama", written, {"dtype": "float32"})
    (file,) = written.glob("*.gguf")
    _, _, row, *_ = _table("model").values()
    stated = dict(zip(_BACKENDS, [*row[:3], *row[2:]], strict=True))
    for cell in _planned(models, f'[model.file]\nsource = "path:gguf/{file.name}"\n'):
        assert cell.reason is None, (cell.backend, cell.reason)
        assert (not cell.transforms) == ("as it is" in stated[cell.backend]), cell.backend


def test_the_techniques_that_run_on_a_backend_are_those_of_the_table(models: Path, reference: ModuleType) -> None:
    rows = [
        (re.compile("|".join(name.replace("…", ".*") for name in re.findall(r"`([^`]+)`", names))), stated)
        for names, stated in _table("technique").items()
    ]
    techniques = reference.own_registry().names("technique")
    text = "".join(f"[technique.{name}]\n{_NEEDED.get(name, '')}\n" for name in techniques)
    cells = _planned(models, f'[model.llama]\nsource = "path:llama"\n{text}')
    assert len(cells) == len(techniques) * len(_BACKENDS)
    for cell in cells:
        (stated,) = [row for pattern, row in rows if pattern.fullmatch(cell.technique)]
        if _ABSENT.search(cell.reason or ""):
            continue
        expected = stated[_BACKENDS.index(cell.backend)] == "yes"
        assert (cell.reason is None) == expected, (cell.technique, cell.backend, cell.reason)


def test_the_shipped_profiles_are_those_of_the_table() -> None:
    text = _README.partition("\n| profile | for |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    shipped = {file.stem for file in (ROOT / "profiles" / "joulebench_profiles").glob("*.toml")}
    assert named == shipped
