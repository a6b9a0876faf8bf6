"""``joulebench plugin new``: what it writes works as it is, and what it will not write."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from joulebench.pluginkit.declared import is_public
from joulebench.registry.classes import KINDS
from joulebench.registry.loading import default_registry
from joulebench.testing.models import write_tiny_checkpoint

if TYPE_CHECKING:
    from conftest import Cli, CliHere


@pytest.fixture(scope="module")
def written(cli_here: CliHere, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distribution with a plugin of every kind, found by its metadata alone."""
    folder = tmp_path_factory.mktemp("new")
    kinds = [word for kind in KINDS for word in ("--kind", kind)]
    answer = cli_here("plugin", "new", "acme-all", *kinds, "--output", folder)
    assert answer.code == 0, answer.stderr
    made = folder / "joulebench-acme-all"
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    info = made / "joulebench_acme_all-0.1.0.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {dependency}\n" for dependency in project["dependencies"])
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n{requires}")
    points = project["entry-points"]["joulebench"]
    lines = "".join(f"{name} = {module}\n" for name, module in points.items())
    (info / "entry_points.txt").write_text(f"[joulebench]\n{lines}")
    return made


def test_it_has_all_that_a_distribution_needs(written: Path) -> None:
    names = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert {"pyproject.toml", "README.md", ".github/workflows/test.yml", "joulebench_acme_all/__init__.py"} <= names
    for kind in KINDS:
        assert {f"joulebench_acme_all/{kind}.py", f"tests/test_{kind}.py"} <= names
    for file in written.rglob("*"):
        if file.is_file():
            assert "@name@" not in file.read_text()
            assert "@Class@" not in file.read_text()


def test_every_plugin_in_it_is_listed(written: Path, cli: Cli) -> None:
    process = cli("plugin", "list", "--json", environment={"PYTHONPATH": str(written)})
    listed = json.loads(process.stdout)
    mine = {row["kind"] for row in listed["plugins"] if row["name"] == "acme-all"}
    assert mine == set(KINDS)
    assert [plugin for plugin in listed["broken"] if "acme" in plugin["entry_point"]] == []


def test_every_plugin_in_it_keeps_its_contract(written: Path) -> None:
    pytest.importorskip("safetensors")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=written,
        env={**os.environ, "PYTHONPATH": str(written)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_its_technique_takes_bfloat16_as_most_models_have_it(written: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    source, output = tmp_path / "source", tmp_path / "output"
    write_tiny_checkpoint(source)
    (file,) = source.glob("*.safetensors")
    exact = safetensors.load_file(file)
    safetensors.save_file({name: tensor.bfloat16() for name, tensor in exact.items()}, file)
    output.mkdir()
    code = (
        "import json, sys; from pathlib import Path\n"
        "from joulebench_acme_all.technique import AcmeAllTechnique\n"
        "settings, (source, output) = {'levels': 4}, map(Path, sys.argv[1:])\n"
        "assert AcmeAllTechnique().check(settings, json.loads((source / 'config.json').read_text())) is None\n"
        "AcmeAllTechnique().apply(source, output, settings)\n"
        "print(AcmeAllTechnique().evidence(source, output, settings)['values_after'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, output],
        env={**os.environ, "PYTHONPATH": str(written)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
    assert {tensor.dtype for tensor in safetensors.load_file(output / file.name).values()} == {torch.bfloat16}


def test_all_that_it_imports_of_joulebench_is_public(written: Path) -> None:
    modules = {
        name
        for file in written.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        if name.partition(".")[0] == "joulebench"
    }
    assert {"joulebench.api", "joulebench.session", "joulebench.testing"} <= modules
    assert [name for name in modules if not is_public(name)] == []
    assert not is_public("joulebench.session.schema")
    assert not is_public("joulebench.meter")


@pytest.mark.slow  # mypy reads joulebench anew
def test_it_is_typed_and_tidy(written: Path) -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "joulebench_acme_all"],
        cwd=written,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Acme", "cannot be a plugin's name"),
        ("acme_board", "cannot be a plugin's name"),
        ("acme--board", "cannot be a plugin's name"),
        ("-acme", "no such option"),
        ("9acme", "cannot be a plugin's name"),
        ("../acme", "cannot be a plugin's name"),
        ("a" * 60, "cannot be a plugin's name"),
        ("class", "is a word of Python's own"),
        ("json", "is a word of Python's own"),
        ("joulebench-acme", "is put before it anyway"),
    ],
)
def test_a_name_that_would_not_work_is_refused(cli_here: CliHere, tmp_path: Path, name: str, words: str) -> None:
    answer = cli_here("plugin", "new", name, "--kind", "probe", "--output", tmp_path)
    assert answer.code == 2
    assert words in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused_and_its_owner_named(cli_here: CliHere, tmp_path: Path) -> None:
    taken = default_registry().names("probe")[0]
    answer = cli_here("plugin", "new", taken, "--kind", "probe", "--output", tmp_path)
    assert answer.code == 2
    assert f"the probe '{taken}' exists: 'joulebench' provides it" in answer.stderr


def test_a_folder_that_exists_is_left_alone(cli_here: CliHere, tmp_path: Path) -> None:
    folder = tmp_path / "joulebench-acme"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    answer = cli_here("plugin", "new", "acme", "--kind", "probe", "--output", tmp_path)
    assert answer.code == 2
    assert "already exists, and nothing in it is overwritten" in answer.stderr
    assert [entry.name for entry in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("arguments", [["acme"], ["acme", "--kind", "nonsense"], ["--kind", "probe"]], ids=" ".join)
def test_what_is_left_out_is_wrong_use(cli_here: CliHere, arguments: list[str]) -> None:
    answer = cli_here("plugin", "new", *arguments)
    assert answer.code == 2
    assert "hint: joulebench plugin new --help" in answer.stderr


def test_a_place_that_is_no_folder_is_wrong_use(cli_here: CliHere, tmp_path: Path) -> None:
    answer = cli_here("plugin", "new", "acme", "--kind", "probe", "--output", tmp_path / "absent")
    assert answer.code == 2
    assert "is not a folder" in answer.stderr
