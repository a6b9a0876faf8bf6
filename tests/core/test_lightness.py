"""What starting the command may import: heavy libraries only where they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from joulebench.cachefolder import CACHE_VARIABLE
from joulebench.registry.commandlist import WITHOUT_VARIABLE

HEAVY = (
    "torch",
    "transformers",
    "onnxruntime",
    "pyarrow",
    "rich",
    "numpy",
    "tokenizers",
    "safetensors",
    "gguf",
    "jinja2",
    "pynvml",
    "asyncio",
    "multiprocessing",
)
#: Top-level modules beside Python's own and ours that --help may import.
ALLOWED = {"click", "pluggy"}
_DUMP = """
import contextlib, io, json, sys
before = set(sys.modules)
from joulebench.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def imported_by(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", _DUMP, *arguments], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("plugin", "list"), ("profiles", "list"), ("plan", "quick"), ("run", "nonsense")],
    ids=" ".join,
)
def test_a_command_that_measures_nothing_imports_no_heavy_library(cache: object, arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) & set(HEAVY) == set()


def test_help_imports_only_what_is_allowed() -> None:
    foreign = {
        name.partition(".")[0]
        for name in imported_by("--help")
        if name.partition(".")[0] not in sys.stdlib_module_names
    }
    assert {name for name in foreign if not name.startswith("joulebench")} <= ALLOWED


def test_the_version_needs_no_plugin_at_all() -> None:
    assert not [name for name in imported_by("--version") if name.startswith("joulebench_")]


def test_rows_of_a_session_are_declared_without_arrow() -> None:
    words = "import sys, joulebench.session.tables; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def _help_twice(monkeypatch: pytest.MonkeyPatch, folder: Path) -> set[str]:
    """What the second of two calls imports."""
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    first = imported_by("--help")
    assert "joulebench.registry.loading" in first
    return imported_by("--help")


def test_help_remembers_the_commands_of_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Importing every plugin for a page of text took two thirds of its time."""
    second = _help_twice(monkeypatch, tmp_path)
    assert not [name for name in second if name.startswith(("joulebench_", "pluggy", "importlib.metadata"))]


@pytest.mark.parametrize("change", ["other entry points left out", "a plugin's file", "damage"])
def test_what_may_have_changed_commands_ends_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str) -> None:
    _help_twice(monkeypatch, tmp_path)
    remembered = tmp_path / "commands.json"
    if change == "other entry points left out":
        monkeypatch.setenv(WITHOUT_VARIABLE, "reports")
    elif change == "a plugin's file":
        entry = json.loads(remembered.read_text())
        (file,) = [path for path in entry["changed_ns"] if path.endswith("fpga/synthesis/command.py")]
        entry["changed_ns"][file] -= 1
        remembered.write_text(json.dumps(entry))
    else:
        remembered.write_text('{"place": 5}')
    assert "joulebench.registry.loading" in imported_by("--help")


def test_a_command_of_a_plugin_that_is_remembered_can_be_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _help_twice(monkeypatch, tmp_path)
    assert "joulebench_plugins.fpga.synthesis.command" in imported_by("fpga-synthesis", "--help")
