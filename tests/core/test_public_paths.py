"""Import paths that others build on: they stay, and plugins outside of the tree get by with them."""

from __future__ import annotations

import ast
import configparser
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from joulebench.pluginkit.declared import PUBLIC

REPOSITORY = Path(__file__).parents[2]
CORE = REPOSITORY / "core" / "joulebench"

#: Names that published plugins and scripts import, by module. They are added to, never taken from.
NAMES = {
    "joulebench.api": (
        "Artifact ArtifactTechnique Availability Backend BackendSession Channel Converter Device FileSource "
        "FinishedCell Kernel MemoryUse Option Plugin Probe ReaderSource Renderer Request RuntimeTechnique Scalar "
        "Settings SimulatedCost Traffic Workload"
    ),
    "joulebench.hookspecs": "hookimpl",
    "joulebench.errors": "JoulebenchError ModelError UnavailableError",
    "joulebench.backendkit": "LogitsSession",
    "joulebench.checkpoint": "architecture_of read_config",
    "joulebench.weightkit": "",
    "joulebench.testing": (
        "BackendContract BrokenContractError ConverterContract ProbeContract RendererContract Subject "
        "TechniqueContract WorkloadContract"
    ),
    "joulebench.reportkit": "Depth REPORT Report Section Table TableCell plain report_of summary_of written",
    "joulebench.session": "Session",
    "joulebench": "Result load measure run",
}
OUT_OF_TREE = [
    file
    for folder in ("example_plugin", "plugin_examples", "bad_plugins")
    for file in sorted((REPOSITORY / "tests" / folder).rglob("*.py"))
]


@pytest.mark.parametrize("module", NAMES)
def test_public_names_can_be_imported_from_where_they_always_were(module: str) -> None:
    imported = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(imported, name)] == []


def test_every_module_that_plugins_may_import_is_on_this_list() -> None:
    assert {f"joulebench.{name}" for name in PUBLIC} <= set(NAMES)


@pytest.mark.parametrize("module", NAMES)
def test_a_public_module_is_imported_alone(module: str) -> None:
    """In a process of its own, so that no other import has prepared the way."""
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def imports_of(file: Path) -> Iterator[str]:
    """Modules of joulebench's core that a file imports."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "joulebench":
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "joulebench")


@pytest.mark.parametrize("file", OUT_OF_TREE, ids=lambda file: file.stem)
def test_plugins_outside_of_the_tree_import_public_modules_only(file: Path) -> None:
    assert set(imports_of(file)) <= {f"joulebench.{name}" for name in PUBLIC}


def test_the_plugins_outside_of_the_tree_use_joulebench() -> None:
    assert {"joulebench.api", "joulebench.hookspecs"} <= {name for file in OUT_OF_TREE for name in imports_of(file)}


def test_the_linters_layers_are_the_packages_and_modules_of_the_core() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(REPOSITORY / ".importlinter")
    lines = contracts["importlinter:contract:layers"]["layers"].split("\n")
    layers = [name.strip() for line in lines for name in line.split(":") if name.strip()]
    packages = [path.parent.name for path in CORE.glob("*/__init__.py")]
    modules = [path.stem for path in CORE.glob("*.py") if not path.stem.startswith("__")]
    assert sorted(layers) == sorted(packages + modules)
