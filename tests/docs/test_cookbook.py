"""Every profile of docs/cookbook.md is planned by the command, beside the model and the program that it names."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from doc_pages import Block, blocks
from page_plugin import Example

from joulebench.testing.models import write_tiny_checkpoint

_RECIPES: Final = [block for block in blocks("cookbook.md") if "plan" in block.words]

#: A runtime that only says what it is, which is all that a plan asks.
_PROGRAM: Final = """#!/bin/sh
while read -r request; do
    echo '{"protocol": 1, "name": "my-worker", "version": "1", "formats": ["hf"], "capabilities": ["generate"]}'
done
"""


# For the session, as the folder is: between the tests of a module others may run, and then it is set up again.
@pytest.fixture(scope="session")
def kitchen(example: Example) -> Example:
    """The example plugin's folder with the files that the recipes name."""
    pytest.importorskip("gguf")
    from joulebench_plugins.gguf.export import GgufExport

    model = write_tiny_checkpoint(example.folder / "my-model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    written = example.folder / "gguf"
    written.mkdir()
    GgufExport().convert(model, written, {"dtype": "float32"})
    (file,) = written.glob("*.gguf")
    shutil.move(file, example.folder / "my-model.gguf")
    program = example.folder / "my-worker"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    return example


def test_there_are_ten_recipes_each_with_a_file_of_its_own() -> None:
    assert len({block.word("file") for block in _RECIPES}) == len(_RECIPES) == 10


@pytest.mark.parametrize("recipe", _RECIPES, ids=lambda recipe: str(recipe.word("file")))
def test_a_recipe_plans_cells_and_skips_only_what_is_not_installed(recipe: Block, kitchen: Example) -> None:
    profile = Path(kitchen.folder, str(recipe.word("file")))
    profile.write_text(recipe.code)
    planned = kitchen.joulebench("plan", profile.name)
    assert planned.returncode == 0, planned.stderr
    lines = planned.stdout.splitlines()
    skipped = [reason for line, reason in pairwise(lines) if line.startswith("  skip ")]
    assert [reason for reason in skipped if "not installed" not in reason] == []
    assert any(line.startswith("  run ") for line in lines)
