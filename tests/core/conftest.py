"""Fixtures for tests that run the command with the toy runtime of ``tests/example_plugin``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toyrun import EXAMPLE_PLUGIN, Bench


@pytest.fixture(scope="session")
def toy_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command that finds the example distribution, installed by pip."""
    site = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE_PLUGIN, source)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--disable-pip-version-check",
            "--target",
            str(site),
            str(source),
        ],
        check=True,
    )
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
        "JOULEBENCH_CACHE": str(tmp_path_factory.mktemp("toy-cache")),
    }


@pytest.fixture
def bench(tmp_path: Path, toy_environment: dict[str, str]) -> Iterator[Bench]:
    """A folder with a toy model, and the command."""
    made = Bench(tmp_path, toy_environment)
    yield made
    made.stop_all()
