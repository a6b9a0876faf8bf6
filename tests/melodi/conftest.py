"""MELODI tables for the tests: rows made up here, and the published file where it is present."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import published

#: Beside the project, never in it: the published table has a licence of its own.
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "melodi" / "alpaca_llama3_70b_server.csv"


@pytest.fixture
def sample() -> Path:
    """The published table of 1,026 prompts."""
    if not SAMPLE.is_file():
        pytest.skip(f"the published table is not at {SAMPLE}; it is not part of the project")
    return SAMPLE


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    """A table of 40 made-up prompts without a fault."""
    return published.write(tmp_path / "made-up.csv", published.rows(40))
