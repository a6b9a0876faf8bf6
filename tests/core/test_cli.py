"""The command line: output for people and machines, exit codes, commands of plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from joulebench import cli as command_line
from joulebench.errors import NothingRanError, ProfileError
from joulebench.version import __version__

if TYPE_CHECKING:
    from conftest import Cli


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version") == (0, f"joulebench, version {__version__}\n", "")


def test_help_names_every_command(cli: Cli) -> None:
    answer = cli("--help")
    assert answer.code == 0
    for name in ("doctor", "plan", "run", "report", "models", "profiles", "plugin", "session"):
        assert f"\n  {name} " in answer.stdout


@pytest.mark.parametrize("command", ["plan", "report", "models", "profiles", "plugin", "session"])
def test_each_command_has_help(cli: Cli, command: str) -> None:
    answer = cli(command, "--help")
    assert answer.code == 0
    assert answer.stdout.startswith(f"Usage: joulebench {command}")


def test_without_a_command_the_help_goes_to_standard_error_as_wrong_use(cli: Cli) -> None:
    answer = cli()
    assert answer.code == 2
    assert "Commands:" in answer.stderr


def test_a_plan_is_one_json_document_with_a_reason_for_what_is_skipped(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n'
        "[workload.prefill]\nlength = [8, 100000]\n",
        "utf-8",
    )
    answer = cli("plan", "p.toml", "--json", cwd=tmp_path)
    assert (answer.code, answer.stderr) == (0, "")
    plan = json.loads(answer.stdout)
    assert [cell["runnable"] for cell in plan["cells"]] == [True, False]
    assert "context" in plan["cells"][1]["reason"]
    assert plan["maximum_s"] > plan["minimum_s"] > 0


def test_a_plan_for_people_says_what_runs_what_does_not_and_how_long(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n'
        "[workload.prefill]\nlength = [8, 100000]\n",
        "utf-8",
    )
    out = cli("plan", "p.toml", cwd=tmp_path).stdout
    assert "run   torch prefill length=8" in out
    assert "skip  torch prefill length=100000" in out
    assert "1 of 2 cells can run here; at least " in out


def test_a_shipped_profile_can_be_printed_and_used_as_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(cli("profiles", "show", "quick").stdout, "utf-8")
    answer = cli("plan", "mine.toml", "--json", cwd=tmp_path)
    assert len(json.loads(answer.stdout)["cells"]) > 0


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("plugin", "list", "--json"), "plugins"),
        (("models", "list", "--json"), "models"),
        (("models", "show", "shape:tiny-llama", "--json"), "config"),
        (("profiles", "schema"), "properties"),
    ],
)
def test_json_output_is_one_document(cli: Cli, arguments: tuple[str, ...], key: str) -> None:
    answer = cli(*arguments)
    assert answer.code == 0
    assert json.loads(answer.stdout)[key]


def test_the_lists_name_what_is_shipped(cli: Cli) -> None:
    assert "torch" in cli("plugin", "list").stdout
    assert "smollm2-135m-instruct" in cli("models", "list").stdout
    assert "quick" in cli("profiles", "list").stdout


def test_fetching_a_shape_names_the_folder_that_was_made(cli: Cli) -> None:
    answer = cli("models", "fetch", "shape:tiny-llama#3")
    assert answer.code == 0
    assert json.loads((Path(answer.stdout.strip()) / "seed.json").read_text("utf-8")) == {"seed": 3}


def test_a_reader_that_leaves_gets_no_complaint(cache: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", "profiles", "schema"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.stderr == b""


def _outcome(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> object:
    """The exit code of a command that raises this."""

    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(command_line, "_plugin_commands", lambda: {"failing": failing})
    with pytest.raises(SystemExit) as caught:
        command_line.main(["failing"])
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            ProfileError("is wrong", where="f:1", hint="mend it"),
            2,
            "joulebench: error: f:1: is wrong\n  hint: mend it\n",
        ),
        (NothingRanError("nothing ran"), 1, "joulebench: error: nothing ran\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "joulebench: error: /x: Permission denied\n"),
        (OSError(28, "No space left on device"), 2, "joulebench: error: No space left on device\n"),
        (KeyboardInterrupt(), 130, "joulebench: stopped\n"),
    ],
)
def test_an_error_becomes_words_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    assert _outcome(monkeypatch, error) == code
    assert capsys.readouterr().err.lstrip("\n") == words


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        _outcome(monkeypatch, ZeroDivisionError())
