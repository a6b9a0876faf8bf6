"""The pages' generator, and the example plugin of docs/plugins.md installed and run for real."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from doc_pages import script
from page_plugin import Example


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """docs/make_reference.py."""
    return script("make_reference")


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The example plugin of docs/plugins.md, installed."""
    return Example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="session")
def example_run(example: Example) -> Path:
    """The session that the example's profile gives, in a folder ``session``."""
    done = example.joulebench("run", "board.toml", "--output", "out", "--no-report")
    assert done.returncode == 0, done.stderr
    (made,) = (example.folder / "out").iterdir()
    return made.rename(example.folder / "session")
