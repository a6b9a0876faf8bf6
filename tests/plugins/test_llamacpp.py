"""The llama.cpp backend on real files: what it writes, says of itself and refuses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batches import answer_alone, answers_at_once
from gguf_models import (
    SENTENCEPIECE_SPECIALS,
    SPECIALS,
    TEXTS,
    add_tokenizer,
    byte_level_tokenizer,
    exported,
    sentencepiece_tokenizer,
)
from llama_models import LINEAR, LLAMA3, TIED, UNTIED, generated, torch_generated, torch_model, write_checkpoint

from joulebench.api import Artifact
from joulebench.errors import JoulebenchError, ModelError, UnavailableError
from joulebench.models.making import Transform
from joulebench.models.store import Store, hash_content
from joulebench_plugins.gguf.export import GgufExport
from joulebench_plugins.llamacpp import installed
from joulebench_plugins.llamacpp.backend import LlamaCppBackend

np = pytest.importorskip("numpy")
pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
if installed.installed_binding().module is None:
    pytest.skip("no binding of llama.cpp is installed", allow_module_level=True)

from joulebench_plugins.llamacpp.binding import check_layout  # noqa: E402
from joulebench_plugins.llamacpp.session import LlamaCppSession  # noqa: E402

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
LONG = [(7 * i * i + 3) % TIED["vocab_size"] for i in range(100)]
Value = str | int | float | bool


def opened(file: Path, **settings: Value) -> LlamaCppSession:
    backend = LlamaCppBackend()
    session = backend.open(Artifact("gguf", file, "", 0), "cpu", {"threads": 1, **settings})
    assert isinstance(session, LlamaCppSession)
    return session


def expected_logits(model: Any, tokens: list[int]) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tied") / "hf", TIED)


@pytest.fixture(scope="module")
def tied_file(tied: Path) -> Path:
    return exported(tied, tied.parent / "gguf")


@pytest.fixture(scope="module")
def smollm2_gguf(smollm2: Path, cache: Path) -> Path:
    """The embedded model as a GGUF file of float32, made once for a kept cache."""
    content_hash, size = hash_content(smollm2)
    exporter = GgufExport()
    step = Transform("converter", exporter.name, exporter.target, exporter.default_settings(), exporter.versions())
    return Store(cache).make(Artifact("hf", smollm2, content_hash, size), step).artifact.path


@pytest.fixture
def session(tied_file: Path) -> Iterator[LlamaCppSession]:
    with opened(tied_file) as session:
        yield session


# -- several sequences at once ---------------------------------------------------------------


@pytest.mark.parametrize("batch_tokens", [512, 7])
def test_each_sequence_of_a_batch_is_what_it_is_alone(tied_file: Path, batch_tokens: int) -> None:
    prompts = [LONG[:5], LONG, LONG[3:17]]
    with opened(tied_file, batch_tokens=batch_tokens) as session:
        expected = [answer_alone(session, prompt) for prompt in prompts]
        held = session.memory().kv_allocated_bytes
        assert answers_at_once(session, prompts) == expected
        use = session.memory()
        assert use.kv_allocated_bytes == pytest.approx(3 * held, rel=0.05)
        per_position = use.kv_used_bytes / sum(len(prompt) + 11 for prompt in prompts)
        assert use.kv_used_bytes == per_position * sum(len(prompt) + 11 for prompt in prompts) > 0
        assert answers_at_once(session, prompts[:2]) == expected[:2], "a smaller batch"
        assert answer_alone(session, prompts[1]) == expected[1], "one sequence after a batch"


def test_a_batch_that_is_wider_than_a_call_is_refused(tied_file: Path) -> None:
    with opened(tied_file, batch_tokens=2) as session, pytest.raises(JoulebenchError, match="raise batch_tokens"):
        session.prefill_batch([LONG[:4]] * 3)


# -- the same model as the checkpoint ---------------------------------------------------------


@pytest.mark.parametrize("shape", [TIED, UNTIED, LINEAR, LLAMA3], ids=["tied", "untied", "linear", "llama3"])
def test_logits_and_greedy_tokens_equal_those_of_transformers(tmp_path: Path, shape: Mapping[str, Any]) -> None:
    checkpoint = write_checkpoint(tmp_path / "hf", shape)
    model = torch_model(checkpoint)
    with opened(exported(checkpoint, tmp_path / "gguf")) as session:
        logits = session.logits(LONG)
        assert logits.dtype == np.float32
        assert logits == pytest.approx(expected_logits(model, LONG), abs=2e-3)
        written = generated(session, PROMPT, 40)
        assert session.facts()["dtype"] == "float32"
    assert len(set(written)) > 5, "a text that repeats itself would prove little"
    assert written == torch_generated(model, PROMPT, 40)


def test_the_embedded_model_writes_what_torch_writes(smollm2: Path, smollm2_gguf: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    model = torch_model(smollm2)
    prompts = ["The capital of France is", "Water boils when", "def add(a, b):\n    return"]
    with opened(smollm2_gguf) as session:
        assert session.vocabulary_size == 49152
        for prompt in prompts:
            ids = tokenizer.encode(prompt).ids
            assert generated(session, ids, 24) == torch_generated(model, ids, 24), prompt
        ids = tokenizer.encode("The steam engine was improved by James Watt in 1769.").ids
        assert session.logits(ids) == pytest.approx(expected_logits(model, ids), abs=2e-3)


@pytest.mark.parametrize("kind", ["smollm", "gpt-2", "sentencepiece"])
def test_llama_cpp_cuts_texts_as_the_checkpoint_does(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("llama_cpp", reason="asks the library through llama-cpp-python")
    spelled = kind == "sentencepiece"
    tokenizer = sentencepiece_tokenizer() if spelled else byte_level_tokenizer(kind)
    shape = {**TIED, "vocab_size": tokenizer.get_vocab_size() + 3}
    checkpoint = write_checkpoint(tmp_path / "hf", shape)
    add_tokenizer(checkpoint, tokenizer, SENTENCEPIECE_SPECIALS if spelled else SPECIALS)
    special = "</s>" if spelled else "<|end|>"
    with opened(exported(checkpoint, tmp_path / "gguf")) as session:
        for text in [*TEXTS, f"the mat{special}the cat"]:
            if text == "" and spelled:
                continue  # transformers puts a space before nothing, SentencePiece does not
            assert _ids_by_llama_cpp(session, text) == tokenizer.encode(text).ids, text


def test_llama_cpp_cuts_texts_as_the_embedded_models_tokenizer(smollm2: Path, smollm2_gguf: Path) -> None:
    pytest.importorskip("llama_cpp", reason="asks the library through llama-cpp-python")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    texts = [*TEXTS, "The capital of France is", "<|im_start|>user\nHi!<|im_end|>\n"]
    with opened(smollm2_gguf) as session:
        for text in texts:
            assert _ids_by_llama_cpp(session, text) == tokenizer.encode(text).ids, text


def _ids_by_llama_cpp(session: LlamaCppSession, text: str) -> list[int]:
    """Token ids by the library's own tokenizer, bos as the file says, special tokens as such."""
    import llama_cpp

    vocabulary = llama_cpp.llama_model_get_vocab(session._decoder._model)  # type: ignore[attr-defined]
    encoded = text.encode()
    room = (llama_cpp.llama_token * (len(encoded) + 8))()
    count = llama_cpp.llama_tokenize(vocabulary, encoded, len(encoded), room, len(room), True, True)
    assert count >= 0
    return list(room[:count])


# -- one sequence -----------------------------------------------------------------------------


def test_a_reset_session_writes_the_same_again_after_another_prompt(session: LlamaCppSession) -> None:
    first = generated(session, PROMPT, 12)
    other = generated(session, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12], 12)
    session.reset()
    assert generated(session, PROMPT, 12) == first != other


def test_a_prompt_in_small_batches_gives_what_one_batch_gives(tied_file: Path, session: LlamaCppSession) -> None:
    with opened(tied_file, batch_tokens=7, ubatch_tokens=3) as small:
        assert generated(small, LONG, 20) == generated(session, LONG, 20)
        assert small.logits(LONG) == pytest.approx(session.logits(LONG), abs=2e-4)
        assert small.score(LONG) == pytest.approx(session.score(LONG), abs=2e-4)


def test_scores_are_the_log_probabilities_of_a_plain_forward(tied: Path, session: LlamaCppSession) -> None:
    logits = torch.tensor(expected_logits(torch_model(tied), LONG))
    plain = torch.log_softmax(logits[:-1].double(), -1)
    expected = plain[torch.arange(99), torch.tensor(LONG[1:])].tolist()
    assert session.score(LONG) == pytest.approx(expected, abs=1e-3)


def test_reading_the_file_gives_what_mapping_it_gives(tied_file: Path, session: LlamaCppSession) -> None:
    with opened(tied_file, mmap=False) as read:
        assert generated(read, PROMPT, 20) == generated(session, PROMPT, 20)
        assert read.facts()["mmap"] is False


def test_what_does_not_fit_into_the_context_is_refused(tied_file: Path) -> None:
    with opened(tied_file, context_tokens=10) as session:
        assert session.context_length == 10
        with pytest.raises(JoulebenchError, match="empty prompt"):
            session.prefill([])
        with pytest.raises(JoulebenchError, match="call prefill"):
            session.step()
        with pytest.raises(JoulebenchError, match="11 tokens do not fit into 10 positions"):
            session.prefill(LONG[:11])
        with pytest.raises(JoulebenchError, match="11 tokens do not fit"):
            generated(session, PROMPT, 4)


def test_a_token_outside_the_vocabulary_is_refused_with_the_librarys_words(session: LlamaCppSession) -> None:
    with pytest.raises(JoulebenchError, match=r"code -1: .*invalid token.*160"):
        session.prefill([1, 160])


# -- what it says of itself -------------------------------------------------------------------


def test_memory_is_what_the_library_allocated(session: LlamaCppSession) -> None:
    before = session.memory()
    generated(session, PROMPT, 5)
    after = session.memory()
    # 256 cells (llama.cpp rounds up), 2 layers, keys and values, 2 heads of 16 float32.
    assert before.kv_allocated_bytes == 256 * 2 * 2 * 2 * 16 * 4 == after.kv_allocated_bytes
    # The last token that was written has not been fed.
    assert (before.kv_used_bytes, after.kv_used_bytes) == (0, (8 + 4) * 2 * 2 * 2 * 16 * 4)
    weights = 4 * sum(tensor.numel() for tensor in _tensors_of(TIED))
    assert before.weights_bytes == pytest.approx(weights, rel=0.1)
    assert before.workspace_bytes is not None
    assert before.workspace_bytes > 0


def _tensors_of(shape: Mapping[str, Any]) -> list[Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    return list(LlamaForCausalLM(LlamaConfig(**shape)).parameters())


def test_traffic_counts_the_tensors_of_the_file(tmp_path: Path) -> None:
    for shape in (TIED, UNTIED):
        folder = tmp_path / str(shape["head_dim"])
        file = exported(write_checkpoint(folder / "hf", shape), folder / "gguf", "bfloat16")
        parameters = _tensors_of(shape)
        matrices = sum(parameter.numel() for parameter in parameters if parameter.ndim == 2)
        vectors = sum(parameter.numel() for parameter in parameters if parameter.ndim == 1)
        rows, hidden = shape["vocab_size"], shape["hidden_size"]
        tied = shape["tie_word_embeddings"]
        read = matrices if tied else matrices - rows * hidden + hidden
        with opened(file, dtype="bfloat16") as session:
            traffic = session.traffic()
            assert session.facts()["dtype"] == "bfloat16"
        assert traffic.weights_bytes == 2 * read + 4 * vectors
        assert traffic.operations == 2 * (matrices if tied else matrices - rows * hidden)
        assert traffic.head_operations == 2 * rows * hidden
        assert traffic.kv_position_bytes == 2 * 2 * 2 * shape["head_dim"] * 2


def test_quantized_keys_and_values_take_less_and_are_named(tmp_path: Path) -> None:
    shape = {**TIED, "head_dim": 32}
    file = exported(write_checkpoint(tmp_path / "hf", shape), tmp_path / "gguf")
    sizes: dict[str, int | None] = {}
    for kind in ("f32", "f16", "q8_0", "q4_0"):
        with opened(file, kv_type_k=kind, kv_type_v=kind) as session:
            assert len(generated(session, PROMPT, 10)) == 10
            facts, memory = session.facts(), session.memory()
            assert (facts["kv_type_k"], facts["kv_type_v"]) == (kind, kind)
            # Quantized values need it; float32 ones would be rounded by it.
            assert facts["flash_attention"] is (kind != "f32")
            sizes[kind] = memory.kv_allocated_bytes
            position = session.traffic().kv_position_bytes
            assert memory.kv_used_bytes == position * (len(PROMPT) + 9)
    # Bytes of a row of 32 numbers, in 256 cells, 2 layers, keys and values, 2 heads.
    rows = {"f32": 128, "f16": 64, "q8_0": 34, "q4_0": 18}
    assert sizes == {kind: 256 * 2 * 2 * 2 * size for kind, size in rows.items()}


@pytest.mark.parametrize(("asked", "used"), [("off", False), ("on", True), ("auto", True)])
def test_flash_attention_that_is_used_is_said(tied_file: Path, asked: str, used: bool) -> None:
    kinds = {"kv_type_k": "f16", "kv_type_v": "f16"}
    with opened(tied_file, flash_attention=asked, **kinds) as session:
        assert session.facts()["flash_attention"] is used


def test_the_library_is_quiet(tied_file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from joulebench.api import Artifact;"
        "from joulebench_plugins.llamacpp.backend import LlamaCppBackend;"
        "s = LlamaCppBackend().open(Artifact('gguf', Path(sys.argv[1]), '', 0), 'cpu', {});"
        "s.prefill([1, 2, 3]); s.step(); s.close()"
    )
    answer = subprocess.run([sys.executable, "-c", code, tied_file], capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("", "")


# -- what cannot work -------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.001, 0.01, 0.2, 0.5, 0.999])
def test_a_truncated_file_is_refused_as_damaged(tied_file: Path, tmp_path: Path, kept: float) -> None:
    content = tied_file.read_bytes()
    file = tmp_path / "model.gguf"
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match="not a complete GGUF file"):
        opened(file)


@pytest.mark.parametrize(
    ("place", "bytes_", "said"),
    [
        (0, b"PK\x03\x04", "does not begin with 'GGUF'"),
        (4, (99).to_bytes(4, "little"), "version 99"),
        (8, (2**40).to_bytes(8, "little"), "cut off or damaged"),
        (24, (2**50).to_bytes(8, "little"), "cut off or damaged"),
    ],
    ids=["magic", "version", "tensors", "key"],
)
def test_a_spoilt_header_is_refused_by_what_is_wrong(
    tied_file: Path, tmp_path: Path, place: int, bytes_: bytes, said: str
) -> None:
    content = bytearray(tied_file.read_bytes())
    content[place : place + len(bytes_)] = bytes_
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=said):
        opened(file)


def test_a_file_that_lacks_metadata_is_refused_with_the_librarys_words(tied_file: Path, tmp_path: Path) -> None:
    content = tied_file.read_bytes()
    key = b"llama.block_count"
    assert content.count(key) == 1
    file = tmp_path / "model.gguf"
    file.write_bytes(content.replace(key, b"llama.clock_count"))
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load it: .*key not found"):
        opened(file)


def test_a_cache_that_does_not_fit_into_memory_is_no_mystery(tmp_path: Path) -> None:
    # A position of 2 layers takes 256 KiB: 8 GiB for 32,768 of them, where 4 GiB are allowed.
    shape = {
        **TIED,
        "num_attention_heads": 64,
        "num_key_value_heads": 64,
        "head_dim": 256,
        "max_position_embeddings": 32768,
    }
    file = exported(write_checkpoint(tmp_path / "hf", shape), tmp_path / "gguf")
    code = (
        "import resource, sys; from pathlib import Path; from joulebench.api import Artifact;"
        "from joulebench_plugins.llamacpp.backend import LlamaCppBackend;"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30));"
        "LlamaCppBackend().open(Artifact('gguf', Path(sys.argv[1]), '', 0), 'cpu',"
        " {'context_tokens': 32768, 'threads': 1})"
    )
    answer = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
    assert "MemoryError: llama.cpp: out of memory" in answer.stderr
    assert answer.returncode == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"kv_type_k": "q8_0"}, None),
        ({"kv_type_v": "q8_0"}, None),
        ({"kv_type_v": "q8_0", "flash_attention": "off"}, "needs flash attention"),
        ({"gpu_layers": 4}, "gpu_layers needs a GPU"),
        ({"gpu_layers": 0}, None),
    ],
)
def test_settings_are_judged_before_anything_is_loaded(settings: Mapping[str, Value], said: str | None) -> None:
    fault = LlamaCppBackend().check("cpu", settings, {"head_dim": 64})
    assert (fault is None) if said is None else (said in str(fault))
    narrow = LlamaCppBackend().check("cpu", {"kv_type_k": "q4_0"}, {"head_dim": 48})
    assert "multiple of 32, not 48" in str(narrow)


def test_without_a_binding_the_backend_names_both_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name.startswith("llama_cpp") else there(name, *more)
    )
    answer = LlamaCppBackend().available()
    assert not answer.ok
    assert "llama-cpp-python or llama-cpp-py-sync" in str(answer.reason)
    assert "joulebench[llamacpp]" in str(answer.cure)
    assert "joulebench[llamacpp-prebuilt]" in str(answer.cure)
    assert installed.installed_binding().folder is None


def test_a_library_with_shifted_fields_is_refused() -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    model = llama_cpp.llama_model_default_params()
    context = llama_cpp.llama_context_default_params()
    check_layout(model, context, "llama-cpp-python")
    named = [name for name, _ in context._fields_]
    shifted = SimpleNamespace(
        **{name: getattr(context, before) for name, before in zip(named[1:], named, strict=False)}
    )
    with pytest.raises(UnavailableError, match="do not fit together"):
        check_layout(model, shifted, "llama-cpp-python")


def test_devices_and_checks_import_no_runtime() -> None:
    code = (
        "import sys; from joulebench_plugins.llamacpp.backend import LlamaCppBackend as B; b = B();"
        "b.available(); b.versions(); b.check('cpu', {}, {}); b.environment('cpu', {});"
        "print([each.name for each in b.devices()], {'llama_cpp', 'numpy'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['cpu'] set()"
