"""The ExecuTorch backend against transformers: same weights, same tokens, same figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from llama_models import generated, torch_generated, torch_model, write_checkpoint
from onnx_models import TIED

from joulebench.api import Artifact, BackendSession
from joulebench.errors import JoulebenchError, ModelError
from joulebench_plugins.executorch.backend import ExecutorchBackend
from joulebench_plugins.executorch.exporter import ExecutorchExport

np = pytest.importorskip("numpy")
pytest.importorskip("torch")
pytest.importorskip("transformers")
MISSING = importlib.util.find_spec("executorch") is None
apart = [pytest.mark.apart, pytest.mark.skipif(MISSING, reason="not installed: executorch")]

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
POSITIONS = 128


def opened(folder: Path, **settings: int) -> BackendSession:
    return ExecutorchBackend().open(Artifact("executorch", folder, "", 0), "cpu", {"threads": 1, **settings})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint/ and program/ of the tied llama."""
    path = tmp_path_factory.mktemp("executorch")
    write_checkpoint(path / "checkpoint", TIED)
    (path / "program").mkdir()
    ExecutorchExport().convert(path / "checkpoint", path / "program", {"cache_tokens": POSITIONS})
    return path


def test_without_the_library_the_cure_is_the_extra() -> None:
    for plugin in (ExecutorchBackend(), ExecutorchExport()):
        answer = plugin.available()
        assert answer.ok != MISSING
        if MISSING:
            assert answer.reason is not None
            assert "executorch" in answer.reason
            assert answer.cure == "pip install 'joulebench[executorch]'"


def test_the_length_of_the_cache_is_a_part_of_the_program() -> None:
    assert ExecutorchBackend().conversion_settings({"cache_tokens": 96}) == {"cache_tokens": 96}
    assert "exports causal language models only" in str(ExecutorchExport().supports("BertModel"))


class TestProgram:
    pytestmark = apart

    def test_it_says_what_transformers_says(self, folder: Path) -> None:
        import torch

        reference: Any = torch_model(folder / "checkpoint")
        tokens = [(7 * i * i + 3) % TIED["vocab_size"] for i in range(60)]
        with torch.no_grad():
            expected = reference(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()
        with opened(folder / "program") as session:
            assert np.abs(session.logits(tokens) - expected).max() < 2e-4 * np.abs(expected).max()
            written = torch_generated(reference, PROMPT, 96)
            assert len(set(written)) > 10, "a text that repeats itself would prove little"
            assert generated(session, PROMPT, 96) == written
            rows = expected[:-1].astype(np.float64)
            chances = rows[np.arange(59), tokens[1:]] - np.log(np.exp(rows).sum(1))
            assert session.score(tokens) == pytest.approx(chances.tolist(), abs=2e-4)

    def test_its_facts_and_memory_are_those_of_the_program(self, folder: Path) -> None:
        with opened(folder / "program") as session:
            facts = session.facts()
            assert (facts["threads"], facts["context_length"]) == (1, POSITIONS)
            # An embedding that is the output head as well is there twice.
            assert 1.1 < float(str(facts["weights_stored"])) < 1.5
            assert int(str(facts["delegated_parts"])) > 0
            generated(session, PROMPT, 5)
            memory, position_bytes = session.memory(), 2 * 2 * 2 * 16 * 4
            assert memory.kv_used_bytes == (len(PROMPT) + 4) * position_bytes
            assert memory.kv_allocated_bytes is not None
            assert memory.kv_allocated_bytes >= POSITIONS * position_bytes

    def test_misuse_is_refused(self, folder: Path, tmp_path: Path) -> None:
        with opened(folder / "program") as session:
            with pytest.raises(JoulebenchError, match="prefill"):
                session.step()
            with pytest.raises(JoulebenchError, match="empty prompt"):
                session.prefill([])
            with pytest.raises(JoulebenchError, match="129 tokens do not fit into 128"):
                session.prefill([1] * (POSITIONS + 1))
        (tmp_path / "interface.json").write_text("{}")
        with pytest.raises(ModelError, match="does not say what the program's values are"):
            opened(tmp_path)
