"""The notebook of the docs: its code runs, and what is published is what its maker writes."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from doc_pages import script

#: Measured in place of the notebook's profile, which takes minutes.
SHORT = """
version = 1
[model.tiny]
source = "shape:tiny-llama"
[backend.onnx]
[backend.onnx-mobile]
[workload.generate]
new_tokens = 4
[protocol]
processes = 1
min_blocks = 4
max_blocks = 4
block_s = 0.05
warmup_min_s = 0.0
warmup_requests = 1
idle_s = 0.1
"""


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """docs/make_notebook.py."""
    return script("make_notebook")


@pytest.mark.slow
def test_every_cell_of_the_notebook_runs(maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxruntime", "pandas", "vl_convert"):
        pytest.importorskip(module)
    (tmp_path / "short.toml").write_text(SHORT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    code = [content for kind, content in maker.CELLS if kind == "code"]
    assert sum('"quick"' in content for content in code) == 1
    for content in code:
        exec(compile(content.replace('"quick"', '"short.toml"'), "notebook", "exec"), names)  # noqa: S102 (our own)
    assert {"result", "frame", "best", "again"} <= set(names)


def test_the_published_notebook_is_the_makers_and_was_executed(maker: ModuleType) -> None:
    published = json.loads(maker.NOTEBOOK.read_text(encoding="utf-8"))
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in published["cells"]]
    assert cells == list(maker.CELLS)
    executed = [cell for cell in published["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in executed)
    assert not any(output["output_type"] == "error" for cell in executed for output in cell["outputs"])
