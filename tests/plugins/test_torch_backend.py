"""The torch backend against plain transformers, on a tiny llama with random weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_models import generated, torch_generated

pytest.importorskip("torch")
pytest.importorskip("transformers")

from joulebench.api import Artifact
from joulebench.errors import JoulebenchError, ModelError
from joulebench_plugins.torch.backend import TorchBackend
from joulebench_plugins.torch.session import TorchSession

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_SIZE, WIDE = 2, 64, 4, 2, 16, 96
VOCABULARY, CONTEXT = 160, 64
PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(11)
    # The wide initialisation makes greedy text vary from token to token.
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=WIDE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_SIZE,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def opened(folder: Path, **settings: str | int | float | bool) -> TorchSession:
    session = TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1, **settings})
    assert isinstance(session, TorchSession)
    return session


@pytest.fixture(params=["dynamic", "static"])
def session(folder: Path, request: pytest.FixtureRequest) -> Iterator[TorchSession]:
    with opened(folder, cache=request.param, cache_tokens=48) as session:
        yield session


def test_greedy_tokens_equal_those_of_generate(session: TorchSession) -> None:
    expected = torch_generated(session.model, PROMPT, 30)
    assert len(set(expected)) > 5, "a text that repeats itself would prove little"
    assert generated(session, PROMPT, 30) == expected


def test_a_reset_session_writes_the_same_again_after_another_prompt(session: TorchSession) -> None:
    first = generated(session, PROMPT, 12)
    session.reset()
    other = generated(session, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12], 12)
    session.reset()
    assert generated(session, PROMPT, 12) == first != other


def test_prefill_starts_from_an_empty_cache_even_without_reset(session: TorchSession) -> None:
    first = generated(session, PROMPT, 6)
    assert generated(session, PROMPT, 6) == first


def test_scores_are_the_log_probabilities_of_a_plain_forward(session: TorchSession) -> None:
    import torch

    tokens = [(7 * i * i + 3) % VOCABULARY for i in range(40)]
    with torch.no_grad():
        logits = session.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    plain = torch.log_softmax(logits[:-1].double(), -1)
    expected = plain[torch.arange(39), torch.tensor(tokens[1:])].tolist()
    assert session.score(tokens) == pytest.approx(expected, abs=2e-4)


def test_logits_are_those_of_a_plain_forward_and_of_the_tokens_that_are_written(
    session: TorchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import torch

    written = generated(session, PROMPT, 20)
    tokens = [*PROMPT, *written[:-1]]
    monkeypatch.setattr("joulebench_plugins.torch.session._SCORE_CHUNK", 7)
    logits = session.logits(tokens)
    assert (logits.shape, logits.dtype) == ((len(tokens), VOCABULARY), np.float32)
    with torch.no_grad():
        plain = session.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
    assert np.allclose(logits, plain.numpy(), atol=2e-4)
    assert logits[len(PROMPT) - 1 :].argmax(-1).tolist() == written
    session.reset()
    assert generated(session, PROMPT, 20) == written


def test_scoring_in_chunks_gives_what_one_piece_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [(5 * i * i + 1) % VOCABULARY for i in range(50)]
    with opened(folder) as session:
        whole = session.score(tokens)
        monkeypatch.setattr("joulebench_plugins.torch.session._SCORE_CHUNK", 7)
        assert session.score(tokens) == pytest.approx(whole, abs=2e-4)
    assert len(whole) == 49


def test_scoring_leaves_a_begun_sequence_alone(session: TorchSession) -> None:
    undisturbed = generated(session, PROMPT, 6)
    first = session.prefill(PROMPT)
    session.score([1, 2, 3, 4])
    assert [first, *(session.step() for _ in range(5))] == undisturbed


def test_an_embedding_is_the_mean_of_the_last_hidden_states(session: TorchSession) -> None:
    import torch

    with torch.no_grad():
        states = session.model(
            input_ids=torch.tensor([PROMPT]), output_hidden_states=True, use_cache=False
        ).hidden_states[-1]
    assert session.encode([PROMPT])[0].tolist() == pytest.approx(states[0].mean(0).tolist(), abs=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_train_steps_lower_the_loss_that_score_sees(folder: Path, optimizer: str) -> None:
    with opened(folder, optimizer=optimizer, learning_rate=1e-2) as session:
        before = -sum(session.score(PROMPT)) / (len(PROMPT) - 1)
        losses = [session.train_step(PROMPT) for _ in range(5)]
        after = -sum(session.score(PROMPT)) / (len(PROMPT) - 1)
    assert losses[0] == pytest.approx(before, rel=1e-4)
    assert after < losses[-1] < losses[0]


def test_training_in_memory_leaves_the_checkpoint_on_disk_alone(folder: Path) -> None:
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    with opened(folder, optimizer="sgd", learning_rate=1.0) as session:
        session.train_step(PROMPT)
    assert weights.read_bytes() == before


# -- memory -----------------------------------------------------------------------------------

PER_LAYER = (
    HIDDEN * HEADS * HEAD_SIZE * 2  # q and o
    + HIDDEN * KV_HEADS * HEAD_SIZE * 2  # k and v
    + 3 * HIDDEN * WIDE  # gate, up, down
    + 2 * HIDDEN  # norms
)
PARAMETERS = VOCABULARY * HIDDEN + LAYERS * PER_LAYER + HIDDEN  # the tied head counts once
ROPE_BUFFERS = 2 * 4 * HEAD_SIZE // 2  # inverse frequencies, now and original, in float32


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_weights_count_tied_tensors_once_and_follow_the_dtype(folder: Path, dtype: str, width: int) -> None:
    with opened(folder, dtype=dtype) as session:
        assert session.memory().weights_bytes == PARAMETERS * width + ROPE_BUFFERS
        assert session.facts()["dtype"] == dtype
        assert session.facts()["parameters"] == PARAMETERS


def kv_bytes(positions: int, width: int = 4) -> int:
    return LAYERS * 2 * KV_HEADS * HEAD_SIZE * positions * width


def test_a_dynamic_cache_holds_exactly_the_positions_in_use(folder: Path) -> None:
    with opened(folder, cache="dynamic") as session:
        generated(session, PROMPT, 5)  # the fifth token has not been fed yet
        memory = session.memory()
        expected = kv_bytes(len(PROMPT) + 4)
        assert (memory.kv_allocated_bytes, memory.kv_used_bytes) == (expected, expected)
        session.reset()
        assert session.memory().kv_allocated_bytes == 0


def test_a_static_cache_holds_all_its_positions_and_uses_some(folder: Path) -> None:
    with opened(folder, cache="static", cache_tokens=48, dtype="bfloat16") as session:
        generated(session, PROMPT, 5)
        memory = session.memory()
        assert memory.kv_allocated_bytes == kv_bytes(48, 2)
        assert memory.kv_used_bytes == kv_bytes(len(PROMPT) + 4, 2)
        session.reset()
        assert session.memory().kv_used_bytes == 0


# -- limits and refusals ----------------------------------------------------------------------


def test_a_static_cache_is_capped_to_the_models_context(folder: Path) -> None:
    with opened(folder, cache="static", cache_tokens=5000) as session:
        assert session.context_length == CONTEXT


def test_a_step_beyond_the_cache_is_refused_not_wrapped(folder: Path) -> None:
    with opened(folder, cache="static", cache_tokens=10) as session:
        session.prefill(PROMPT)
        session.step()
        session.step()
        with pytest.raises(JoulebenchError, match="11 tokens do not fit into 10") as caught:
            session.step()
    assert "cache_tokens" in str(caught.value)


def test_a_step_without_a_prompt_is_refused(session: TorchSession) -> None:
    with pytest.raises(JoulebenchError, match="prefill"):
        session.step()


def test_a_checkpoint_with_a_missing_weight_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        opened(tmp_path)


def test_a_pickled_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ModelError, match="safetensors"):
        opened(tmp_path)


def test_compiling_is_refused_with_a_growing_cache() -> None:
    reason = TorchBackend().check("cpu", {"compile": True, "cache": "dynamic"}, {})
    assert reason is not None
    assert "static" in reason


def test_compiling_is_refused_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = {"compile": True, "cache": "static"}
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert "compiler" in str(TorchBackend().check("cpu", settings, {}))
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    assert TorchBackend().check("cpu", settings, {}) is None


@pytest.mark.parametrize(
    ("kind", "listed", "refused"),
    [
        ("gpt2", "GPT2LMHeadModel", None),
        ("bloom", "BloomModel", None),  # saved without its head, which is its embedding
        ("gemma3", "Gemma3ForConditionalGeneration", None),
        ("bert", "BertModel", None),  # as an encoder
        ("t5", "T5ForConditionalGeneration", "T5ForConditionalGeneration is no causal language model"),
        ("llama", "LlamaForSequenceClassification", "transformers has LlamaForCausalLM for the type 'llama'"),
        ("my-own", "MyOwnForCausalLM", "does not know models of type 'my-own'"),
    ],
)
def test_models_are_refused_by_the_lists_of_transformers(kind: str, listed: str, refused: str | None) -> None:
    reason = TorchBackend().check("cpu", {}, {"model_type": kind, "architectures": [listed]})
    assert (reason is None) if refused is None else refused in str(reason)


def test_an_encoder_that_is_told_to_decode_is_none() -> None:
    config = {"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True}
    assert TorchBackend().check("cpu", {}, config) is None


def test_the_environment_carries_the_threads_and_forbids_the_network() -> None:
    environment = TorchBackend().environment("cpu", {"threads": 3})
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_asking_for_devices_imports_no_torch() -> None:
    code = (
        "import sys, joulebench_plugins.torch as p; p.joulebench_converters();"
        "b = p.joulebench_backends()[0](); b.available(); b.versions();"
        "b.check('cpu', b.default_settings(), {'model_type': 'qwen3'});"
        "print(b.devices()[0].name, 'torch' in sys.modules or 'transformers' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["cpu", "False"]


@pytest.mark.slow
def test_a_compiled_step_writes_the_same_and_never_compiles_again(folder: Path) -> None:
    if TorchBackend().check("cpu", {"compile": True, "cache": "static"}, {}):
        pytest.skip("no C++ compiler")
    # In a process of its own, as a worker is: torch's compiler imports setuptools, which refuses to
    # load where another library has imported the standard library's distutils.
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nimport test_torch_backend\n"
        f"test_torch_backend.write_with_a_compiled_step(Path({str(folder)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def write_with_a_compiled_step(folder: Path) -> None:
    from torch._dynamo.utils import counters

    with opened(folder, cache="static", cache_tokens=48, compile=True) as session:
        assert session.facts()["compiled"] is True
        graphs = counters["stats"]["unique_graphs"]
        assert graphs > 0
        expected = torch_generated(session.model, PROMPT, 30)
        assert generated(session, PROMPT, 30) == expected
        session.reset()
        assert generated(session, PROMPT[:5], 8) == torch_generated(session.model, PROMPT[:5], 8)
        assert counters["stats"]["unique_graphs"] == graphs
        assert not counters["graph_break"]
