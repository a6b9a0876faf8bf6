"""TAB: what a shell is given for commands and names, and the scripts that ask for it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from joulebench.session.files import SESSION_FILE

if TYPE_CHECKING:
    from conftest import Cli


def completed(line: str, cwd: Path, shell: str = "bash") -> list[str]:
    """What the last word of a command line may become."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    done = subprocess.run(
        [sys.executable, "-m", "joulebench"],
        env={
            **os.environ,
            "_JOULEBENCH_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": shlex.join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("joulebench mea", "plain,measure"),
        ("joulebench run q", "plain,quick"),
        ("joulebench plan stan", "plain,standard"),
        ("joulebench profiles show qu", "plain,quick"),
        ("joulebench run quick --res", "plain,--resume"),
        ("joulebench models show smollm2-135m-i", "plain,smollm2-135m-instruct"),
        ("joulebench models fetch shape:tiny-l", "plain,shape:tiny-llama"),
        ("joulebench plugin check tor", "plain,torch"),
        ("joulebench report latest --format mark", "plain,markdown"),
        ("joulebench completion install z", "plain,zsh"),
        ("joulebench advise lat", "plain,latest"),
    ],
)
def test_names_are_completed(cache: Path, tmp_path: Path, line: str, expected: str) -> None:
    assert expected in completed(line, tmp_path)


def test_a_profile_may_also_be_a_file(cache: Path, tmp_path: Path) -> None:
    assert "file,mine" in completed("joulebench run mine", tmp_path)


def test_the_sessions_of_this_folder_are_completed_the_latest_first(cache: Path, tmp_path: Path) -> None:
    for name in ("2026-01-01T00-00-00Z-quick", "2026-01-02T00-00-00Z-quick"):
        (tmp_path / "sessions" / name).mkdir(parents=True)
        (tmp_path / "sessions" / name / SESSION_FILE).touch()
    assert completed("joulebench report sessions/", tmp_path) == [
        "dir,sessions/",
        "plain,sessions/2026-01-02T00-00-00Z-quick",
        "plain,sessions/2026-01-01T00-00-00Z-quick",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(cli: Cli, shell: str) -> None:
    answer = cli("completion", "show", shell)
    assert answer.code == 0
    assert f"_JOULEBENCH_COMPLETE={shell}_complete" in answer.stdout


def test_bash_completes_by_the_installed_script(cli: Cli, tmp_path: Path) -> None:
    place = {"XDG_DATA_HOME": str(tmp_path / "data"), "SHELL": "/bin/bash"}
    answer = cli("completion", "install", environment=place)
    file = tmp_path / "data/bash-completion/completions/joulebench"
    assert answer.code == 0
    assert answer.stdout.startswith(f"wrote {file}\n")
    program = tmp_path / "joulebench"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m joulebench "$@"\n', "utf-8")
    program.chmod(0o755)
    script = (
        f"compopt() {{ :; }}; PATH={tmp_path}:$PATH; . {file}; COMP_WORDS=(joulebench run q); COMP_CWORD=2; "
        '_joulebench_completion joulebench q run; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=False)
    assert "quick" in done.stdout.split(), done.stderr


def test_installing_again_writes_the_same_file(cli: Cli, tmp_path: Path) -> None:
    place = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert [cli("completion", "install", "fish", environment=place).code for _ in range(2)] == [0, 0]
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["joulebench.fish"]


def test_a_shell_that_is_not_known_is_an_error_with_those_that_are(cli: Cli) -> None:
    answer = cli("completion", "show", environment={"SHELL": "/bin/tcsh"})
    assert answer.code == 2
    assert "'tcsh'" in answer.stderr
    assert "bash, zsh, fish" in answer.stderr
