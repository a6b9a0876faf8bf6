"""The commands of docs/plugin-guide.md, from nothing to a plugin that is measured."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest
from doc_pages import blocks, page

_WORDS: Final = {"joulebench": "joulebench", "pip": "pip", "pytest": "pytest", "python": ""}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a shell with a fresh virtual environment that sees what is here.

    Nothing can be fetched, so pip builds with what is installed and installs no dependencies.
    """
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python3*/site-packages")
    folders = [folder for folder in site.getsitepackages() if Path(folder).is_dir()]
    lines = [f"import site; site.addsitedir({folder!r})" for folder in folders]
    (packages / "here.pth").write_text("\n".join(lines) + "\n")
    for name, module in _WORDS.items():
        script = venv / "bin" / name
        if module:
            script.write_text(f'#!/bin/sh\nexec "{venv}/bin/python" -m {module} "$@"\n')
            script.chmod(0o755)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(venv / "bin"), os.environ["PATH"]]),
        "VIRTUAL_ENV": str(venv),
        "JOULEBENCH_CACHE": str(tmp_path_factory.mktemp("cache")),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture(scope="module")
def transcript(shell: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int, str]]:
    """(commands, exit code, output) of each block, run in one shell after another."""
    folder = tmp_path_factory.mktemp("guide")
    rows: list[tuple[str, int, str]] = []
    start = time.monotonic()
    for block in blocks("plugin-guide.md"):
        if block.language != "sh" or "run" not in block.words:
            continue
        place = folder / "joulebench-acme" if (folder / "joulebench-acme").is_dir() else folder
        code = block.code.removeprefix("cd joulebench-acme\n")
        done = subprocess.run(
            ["sh", "-ec", code], cwd=place, env=shell, capture_output=True, text=True, check=False, timeout=500
        )
        rows.append((block.code, done.returncode, done.stdout + done.stderr))
    spent = time.monotonic() - start
    text = "\n".join(f"$ {code}{output}" for code, _, output in rows)
    (folder / "transcript.txt").write_text(f"{text}\n{spent:.1f} s\n")
    return rows


@pytest.mark.slow
def test_every_command_of_the_guide_works(transcript: list[tuple[str, int, str]]) -> None:
    for code, returned, output in transcript:
        assert returned == 0, f"{code}\n{output}"
    assert len(transcript) == 5


@pytest.mark.slow
def test_each_step_shows_what_the_guide_says(transcript: list[tuple[str, int, str]]) -> None:
    new, installed, tested, checked, measured = (output for _, _, output in transcript)
    assert "wrote joulebench-acme" in new
    assert len(re.findall(r"^(?:backend|probe) +acme ", installed, re.MULTILINE)) == 2
    assert re.search(r"\d+ passed", tested)
    assert "failed" not in tested
    assert "1 entry point checked: 0 faults" in checked
    assert "acme generate" in measured


@pytest.mark.parametrize("kind", ["backend", "technique", "converter", "probe", "workload", "renderer"])
def test_the_guide_names_every_kind(kind: str) -> None:
    assert f"`{kind}`" in page("plugin-guide.md")
