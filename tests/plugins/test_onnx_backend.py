"""The ONNX Runtime backends against transformers: same weights, same tokens, same figures."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batches import answer_alone, answers_at_once
from llama_models import generated, torch_generated, torch_model, write_checkpoint
from onnx_models import LINEAR, LLAMA3, TIED, UNTIED, export, opened, to_ort

from joulebench.api import BackendSession
from joulebench.errors import JoulebenchError
from joulebench_plugins.onnx.backend import OnnxBackend, OnnxMobileBackend

np = pytest.importorskip("numpy")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
pytest.importorskip("transformers")

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
SHAPES = {"tied": TIED, "untied": UNTIED, "linear": LINEAR, "llama3": LLAMA3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint/, onnx/ and ort/ of the tied llama."""
    path = tmp_path_factory.mktemp("onnx")
    export(write_checkpoint(path / "checkpoint", TIED), path / "onnx")
    to_ort(path / "onnx", path / "ort")
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return torch_model(folder / "checkpoint")


@pytest.fixture(params=["onnx", "ort"])
def session(folder: Path, request: pytest.FixtureRequest) -> Iterator[BackendSession]:
    with opened(folder / request.param, request.param) as session:
        yield session


def tokens_of(count: int) -> list[int]:
    return [(7 * i * i + 3) % TIED["vocab_size"] for i in range(count)]


def torch_logits(model: Any, tokens: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()


# -- the same model ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_logits_and_greedy_tokens_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", SHAPES[name])
    model = torch_model(checkpoint)
    tokens = tokens_of(100)
    expected = torch_logits(model, tokens)
    with opened(export(checkpoint, tmp_path / "onnx")) as session:
        assert np.abs(session.logits(tokens) - expected).max() < 2e-4 * np.abs(expected).max()
        written = torch_generated(model, PROMPT, 96)
        assert len(set(written)) > 10, "a text that repeats itself would prove little"
        session.reset()
        assert generated(session, PROMPT, 96) == written


def test_rotation_tables_matter_to_these_logits(tmp_path: Path) -> None:
    """The tolerance above would notice a wrong kind of rotary positions."""
    plain = torch_model(write_checkpoint(tmp_path / "plain", TIED))
    scaled = torch_model(write_checkpoint(tmp_path / "scaled", LINEAR))
    a, b = (torch_logits(model, tokens_of(100)) for model in (plain, scaled))
    assert np.abs(a - b).max() > 0.05 * np.abs(a).max()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_narrower_types_are_taken_exactly(dtype: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", TIED, dtype)
    expected = torch_logits(torch_model(checkpoint), tokens_of(40))
    with opened(export(checkpoint, tmp_path / "onnx")) as session:
        assert session.logits(tokens_of(40)) == pytest.approx(expected, abs=1e-3)


def test_both_settings_write_what_transformers_writes(session: BackendSession, reference: Any) -> None:
    assert generated(session, PROMPT, 96) == torch_generated(reference, PROMPT, 96)


def test_each_sequence_of_a_batch_is_what_it_is_alone(session: BackendSession) -> None:
    prompts = [PROMPT[:3], PROMPT, tokens_of(40)]
    alone = [answer_alone(session, prompt) for prompt in prompts]
    one = session.memory()
    assert answers_at_once(session, prompts) == alone
    use = session.memory()
    assert use.kv_allocated_bytes == 3 * one.kv_allocated_bytes
    assert use.kv_used_bytes == one.kv_used_bytes / (40 + 11) * sum(len(prompt) + 11 for prompt in prompts)
    assert answers_at_once(session, prompts[:2]) == alone[:2]
    assert answer_alone(session, prompts[1]) == alone[1], "one sequence after a batch"


def test_scores_are_the_log_probabilities_of_a_plain_forward(session: BackendSession, reference: Any) -> None:
    tokens = tokens_of(150)  # more than are scored at once
    logits = torch_logits(reference, tokens)[:-1].astype(np.float64)
    log_sums = np.log(np.exp(logits).sum(1))
    expected = logits[np.arange(149), tokens[1:]] - log_sums
    assert session.score(tokens) == pytest.approx(expected.tolist(), abs=2e-4)


def test_chunks_change_nothing(session: BackendSession, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokens_of(50)
    whole, rows = session.score(tokens), session.logits(tokens)
    monkeypatch.setattr("joulebench_plugins.onnx.session._SCORE_CHUNK", 7)
    assert session.score(tokens) == pytest.approx(whole, abs=2e-4)
    assert np.abs(session.logits(tokens) - rows).max() < 2e-4
    assert len(whole) == 49


@pytest.mark.parametrize("prepacking", [True, False])
@pytest.mark.parametrize("level", ["all", "extended", "basic", "none"])
def test_no_setting_changes_the_tokens(folder: Path, level: str, prepacking: bool) -> None:
    with opened(folder / "onnx") as session:
        expected = generated(session, PROMPT, 40)
    settings = {"graph_optimization": level, "prepacking": prepacking, "threads": 2}
    with opened(folder / "onnx", arena=False, spinning=False, **settings) as session:
        assert generated(session, PROMPT, 40) == expected


# -- the sequence -----------------------------------------------------------------------------


def test_a_reset_session_writes_the_same_again_after_another_prompt(session: BackendSession) -> None:
    first = generated(session, PROMPT, 12)
    session.reset()
    other = generated(session, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12], 12)
    session.reset()
    assert generated(session, PROMPT, 12) == first != other


def test_prefill_starts_from_an_empty_cache_even_without_reset(session: BackendSession) -> None:
    first = generated(session, PROMPT, 6)
    assert generated(session, PROMPT, 6) == first


def test_a_step_after_a_score_is_refused_not_continued(session: BackendSession) -> None:
    session.prefill(PROMPT)
    session.score([1, 2, 3])
    with pytest.raises(JoulebenchError, match="prefill"):
        session.step()


def test_a_step_beyond_the_cache_is_refused_not_wrapped(folder: Path) -> None:
    with opened(folder / "onnx", cache_tokens=10) as session:
        generated(session, PROMPT, 3)
        with pytest.raises(JoulebenchError, match="11 tokens do not fit into 10") as caught:
            session.step()
        assert "cache_tokens" in str(caught.value)
        with pytest.raises(JoulebenchError, match="12 tokens do not fit into 10"):
            session.score(list(range(12)))


def test_the_cache_is_capped_to_the_models_context(folder: Path) -> None:
    with opened(folder / "onnx", cache_tokens=5000) as session:
        assert session.context_length == TIED["max_position_embeddings"]
        assert session.vocabulary_size == TIED["vocab_size"]


def test_an_empty_prompt_is_refused(session: BackendSession) -> None:
    with pytest.raises(JoulebenchError, match="empty prompt"):
        session.prefill([])


# -- the KV cache -----------------------------------------------------------------------------


def test_the_runtime_writes_into_the_bound_buffers_and_copies_nothing(session: BackendSession) -> None:
    """After each run the output is the input's memory: only the new position has changed there."""
    from joulebench_plugins.onnx.session import OnnxSession

    assert isinstance(session, OnnxSession)
    cache, binding = session._model.cache, session._model._step_binding
    generated(session, PROMPT, 3)
    before = {key: buffer.copy() for key, buffer in cache.items()}
    addresses = {buffer.ctypes.data for buffer in cache.values()}
    session.step()
    given_back = [value for value in binding.get_outputs() if len(value.shape()) == 4]
    assert {value.data_ptr() for value in given_back} == addresses
    for key, buffer in cache.items():
        changed = np.nonzero((buffer != before[key]).any(axis=(0, 1, 3)))[0]
        assert changed.tolist() == [len(PROMPT) + 2]


def test_memory_counts_a_tied_matrix_once_and_the_cache_by_its_buffers(folder: Path, session: BackendSession) -> None:
    generated(session, PROMPT, 5)  # the fifth token has not been fed yet
    memory = session.memory()
    position = 2 * TIED["num_hidden_layers"] * TIED["num_key_value_heads"] * TIED["head_dim"] * 4
    assert memory.kv_allocated_bytes == position * TIED["max_position_embeddings"]
    assert memory.kv_used_bytes == position * (len(PROMPT) + 4)
    assert memory.workspace_bytes is None
    tables = TIED["max_position_embeddings"] * TIED["head_dim"] * 4
    inside = memory.weights_bytes - 4 * parameters(folder) - tables
    assert 0 <= inside <= 16, "besides these the graph has the number of an axis"


def parameters(folder: Path) -> int:
    model = torch_model(folder / "checkpoint")
    return sum(parameter.numel() for parameter in model.parameters())


def test_traffic_is_counted_from_the_tensors(folder: Path, session: BackendSession) -> None:
    traffic = session.traffic()
    hidden, wide, layers = 64, 96, 2
    matrices = layers * (hidden * (2 * 64 + 2 * 32) + 3 * hidden * wide) + 160 * hidden
    assert traffic.operations == 2 * matrices
    assert traffic.head_operations == 2 * 160 * hidden
    # the tied table is read whole; of the two tables of the rotation a row each
    expected = 4 * parameters(folder) + 2 * 8 * 4
    assert 0 <= traffic.weights_bytes - expected <= 16
    assert traffic.kv_position_bytes == 2 * layers * 2 * 16 * 4


def test_an_untied_table_counts_one_row_of_traffic(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", UNTIED)
    with opened(export(checkpoint, tmp_path / "onnx")) as session:
        memory, traffic = session.memory(), session.traffic()
    rows, positions = UNTIED["vocab_size"], UNTIED["max_position_embeddings"]
    lookups = (rows - 1) * 64 * 4 + (positions - 1) * 2 * 24 * 4
    assert memory.weights_bytes - traffic.weights_bytes == lookups


def test_facts_say_what_runs(session: BackendSession) -> None:
    facts = session.facts()
    assert facts["dtype"] == "float32"
    assert facts["mode"] in ("desktop", "mobile")
    assert facts["threads"] == 1
    assert facts["providers"] == "CPUExecutionProvider"
    assert "CPUExecutionProvider" in str(facts["providers_built"])
    assert facts["graph_optimization"] == ("all" if facts["mode"] == "desktop" else "as stored")
    assert facts["prepacking"] is True


# -- the embedded model -----------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["onnx", pytest.param("ort", marks=pytest.mark.slow)])
def test_the_embedded_model_says_what_transformers_says(
    smollm2: Path, smollm2_onnx: dict[str, Path], format_: str
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = torch_model(smollm2)
    texts = ["The capital of France is", "def fibonacci(n):", "Once upon a time, a small model"]
    with opened(smollm2_onnx[format_], format_, cache_tokens=256) as session:
        for text in texts:
            prompt = tokenizer.encode(text)
            expected = torch_generated(model, prompt, 64)
            assert generated(session, prompt, 64) == expected, text
        tokens = tokenizer.encode("Water boils at a lower temperature on a high mountain. " * 12)
        score = math.fsum(session.score(tokens)) / (len(tokens) - 1)
        logits = torch_logits(model, tokens)[:-1].astype(np.float64)
        chosen = logits[np.arange(len(tokens) - 1), tokens[1:]]
        assert score == pytest.approx((chosen - np.log(np.exp(logits).sum(1))).mean(), rel=1e-4)


# -- what a plan asks -------------------------------------------------------------------------


def test_planning_imports_no_runtime() -> None:
    code = (
        "import sys, joulebench_plugins.onnx as p\n"
        "for c in (*p.joulebench_backends(), *p.joulebench_converters()):\n"
        "    c().available(); c().versions()\n"
        "for c in p.joulebench_backends():\n"
        "    assert c().devices()[0].name == 'cpu'; c().check('cpu', {}, {'hidden_size': 64})\n"
        "print({'onnx', 'onnxruntime', 'numpy'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_without_the_libraries_it_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for backend in (OnnxBackend(), OnnxMobileBackend()):
        answer = backend.available()
        assert not answer.ok
        assert "onnxruntime" in str(answer.reason)
        assert answer.cure == "pip install 'joulebench[onnx]'"


@pytest.mark.parametrize("provider", ["xnnpack", "nnapi", "coreml", "qnn"])
def test_a_provider_that_this_build_lacks_is_named_at_planning_and_at_loading(folder: Path, provider: str) -> None:
    import onnxruntime

    from joulebench_plugins.onnx.providers import PROVIDERS

    if PROVIDERS[provider] in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {provider}")
    config = dict(TIED)
    reason = str(OnnxMobileBackend().check("cpu", {"provider": provider}, config))
    assert PROVIDERS[provider] in reason
    assert "CPUExecutionProvider" in reason
    with pytest.raises(JoulebenchError, match=PROVIDERS[provider]):
        opened(folder / "ort", "ort", provider=provider)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"head_dim": 24}, "head_dim 24"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'factor'"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3"),
        ({"vocab_size": None}, "'vocab_size'"),
    ],
)
def test_a_model_whose_graph_cannot_be_written_is_a_reason_of_the_plan(change: dict[str, Any], words: str) -> None:
    assert words in str(OnnxBackend().check("cpu", {"graph": "written"}, {**TIED, **change}))
    assert OnnxBackend().check("cpu", {}, {**TIED, **change}) is None, "it is traced"
    assert OnnxBackend().check("cpu", {"graph": "written"}, TIED) is None


def test_a_model_too_large_for_ort_format_is_left_to_the_desktop_setting() -> None:
    large = {**TIED, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
    assert "ORT format" in str(OnnxMobileBackend().check("cpu", {}, large))
    assert OnnxBackend().check("cpu", {}, large) is None
