"""llama.cpp's own types of keys and values by bits, and its window, beside torch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf_models import exported

from joulebench.api import Artifact
from joulebench_plugins.llamacpp import installed
from joulebench_plugins.llamacpp.backend import LlamaCppBackend

np = pytest.importorskip("numpy")
pytest.importorskip("gguf")
pytest.importorskip("torch")
pytest.importorskip("transformers")
if installed.installed_binding().module is None:
    pytest.skip("no binding of llama.cpp is installed", allow_module_level=True)

from kv_models import LAYERS, POSITION, opened, sequence, write_model  # noqa: E402
from llama_models import generated  # noqa: E402

PROMPT = sequence(100)
#: Bytes of a row of 32 numbers (ggml-common.h).
ROWS = {8: 34, 5: 24, 4: 18}
WINDOW: dict[str, str | int | float] = {"kv_policy": "window", "kv_budget": 24, "kv_sinks": 3, "kv_chunk": 8}


def on_llamacpp(file: Path, **settings: str | int | float) -> Any:
    return LlamaCppBackend().open(Artifact("gguf", file, "", 0), "cpu", {"threads": 1, **settings})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("kv") / "hf")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return exported(folder, folder.parent / "gguf")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Heads of 32, which the quantized types need."""
    folder = write_model(tmp_path_factory.mktemp("wide") / "hf", head_dim=32)
    return exported(folder, folder.parent / "gguf")  # type: ignore[return-value]


@pytest.mark.parametrize(("bits", "kind"), [(8, "q8_0"), (5, "q5_1"), (4, "q4_0")])
def test_bits_mean_a_type_that_the_log_confirms(wide: Path, bits: int, kind: str) -> None:
    with on_llamacpp(wide, kv_bits=bits) as session:
        generated(session, PROMPT, 10)
        facts, observed = session.facts(), session.observed("kv.quantized")
        assert (facts["kv_type_k"], facts["kv_type_v"], facts["flash_attention"]) == (kind, kind, True)
        seen, row = len(PROMPT) + 9, 2 * 2 * LAYERS
        assert observed["kv_tokens_seen"] == seen
        assert observed["kv_full_bytes"] == seen * row * 128
        assert observed["kv_claimed_bytes"] == observed["kv_used_bytes"] == seen * row * ROWS[bits]
        assert observed["kv_cells"] == 256  # the model's context
        assert observed["kv_allocated_bytes"] == 256 * row * ROWS[bits]
        assert observed["kv_allocated_bytes"] == session.memory().kv_allocated_bytes
        assert session.traffic().kv_position_bytes == row * ROWS[bits]


def test_the_fewer_bits_the_further_from_float32(wide: Path) -> None:
    def logits(**settings: int) -> Any:
        with on_llamacpp(wide, **settings) as session:
            return session.logits(PROMPT)

    full = logits()
    off = [np.abs(logits(kv_bits=bits) - full).mean() for bits in (8, 5, 4)]
    assert 0 < off[0] < off[1] < off[2]


def test_a_window_writes_the_same_text_on_both_runtimes(folder: Path, file: Path) -> None:
    with on_llamacpp(file, **WINDOW) as session, opened(folder, **WINDOW) as other:
        with on_llamacpp(file) as full:
            assert generated(full, PROMPT, 60) != (tokens := generated(session, PROMPT, 60))
        assert tokens == generated(other, PROMPT, 60)
        assert session.score(PROMPT) == pytest.approx(other.score(PROMPT), abs=1e-3)
        np.testing.assert_allclose(session.logits(PROMPT), other.logits(PROMPT), atol=2e-3)


def test_a_window_takes_cells_for_the_budget_alone(file: Path) -> None:
    long = {"kv_policy": "window", "kv_budget": 200, "kv_chunk": 56, "context_tokens": 1024}
    with on_llamacpp(file, **{**long, "kv_budget": 64, "kv_chunk": 16}) as session:
        assert session.context_length == 256
        generated(session, PROMPT, 150)
        observed, memory = session.observed("kv.window"), session.memory()
        assert (observed["kv_tokens_seen"], observed["kv_tokens_kept_mean"]) == (249, 64)
        assert observed["kv_evicted"] is True
        assert observed["kv_used_bytes"] == memory.kv_used_bytes == 64 * POSITION
        # llama.cpp rounds cells up to 256.
        assert observed["kv_cells"] == 256
        assert memory.kv_allocated_bytes == 256 * POSITION
        assert session.traffic().kv_position_bytes is None


def test_a_window_frees_cells_of_a_long_context(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "hf", max_position_embeddings=2048)
    long = exported(folder, tmp_path / "gguf")
    chosen = {**WINDOW, "context_tokens": 2048}
    prompt = sequence(900)
    with on_llamacpp(long, **chosen) as session, opened(folder, **WINDOW) as other:
        assert session.context_length == 2048
        assert generated(session, prompt, 20) == generated(other, prompt, 20)
        # More positions than there are cells have come, each at its true place.
        assert session.observed("kv.window")["kv_cells"] == 256
        assert session.memory().kv_allocated_bytes == 256 * POSITION


def test_a_window_of_quantized_keys_and_values(wide: Path) -> None:
    with on_llamacpp(wide, kv_bits=8, **WINDOW) as session:
        generated(session, PROMPT, 30)
        observed = session.observed("kv.quantized")
        assert observed["kv_used_bytes"] == 24 * 2 * 2 * LAYERS * ROWS[8]


def test_a_budget_that_is_never_reached_changes_nothing(file: Path) -> None:
    with on_llamacpp(file, **{**WINDOW, "kv_budget": 200}) as session, on_llamacpp(file) as full:
        assert generated(session, PROMPT, 40) == generated(full, PROMPT, 40)
        assert "nothing was evicted" in session.observed("kv.window")["note"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kv_bits": 8, "kv_type_k": "f16"}, "give one or the other"),
        ({"kv_bits": 4, "flash_attention": "off"}, "needs flash attention"),
        ({"kv_policy": "window", "kv_budget": 4, "kv_sinks": 4}, "leaves no last positions"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(
    given: dict[str, str | int | float], reason: str
) -> None:
    assert reason in (LlamaCppBackend().check("cpu", given, {"head_dim": 64}) or "")


def test_a_model_without_keys_and_values_has_none_to_compress() -> None:
    for given in ({"kv_bits": 8}, WINDOW):
        reason = LlamaCppBackend().check("cpu", given, {"model_type": "mamba", "state_size": 16})
        assert reason is not None
        assert "there are no keys and values" in reason


def test_heads_that_the_types_do_not_divide_are_refused() -> None:
    assert "multiple of 32" in (LlamaCppBackend().check("cpu", {"kv_bits": 4}, {"head_dim": 48}) or "")


MISTRAL = {"architectures": ["MistralForCausalLM"], "sliding_window": 4096, "max_position_embeddings": 32768}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64}


@pytest.mark.parametrize(
    ("config", "context_tokens", "refused"),
    [
        (MISTRAL, 2048, False),
        (MISTRAL, 8192, True),
        ({**MISTRAL, "max_position_embeddings": 4096}, 8192, False),
        ({**MISTRAL, "sliding_window": None}, 8192, False),
        (QWEN2, 2048, False),
        ({**QWEN2, "use_sliding_window": True}, 2048, True),
        ({"architectures": ["Gemma2ForCausalLM"], "sliding_window": 64}, 2048, False),
        ({"architectures": ["Phi3ForCausalLM"], "sliding_window": 2047}, 2048, False),
    ],
)
def test_a_window_that_llama_cpp_does_not_compute_is_refused_beyond_it(
    config: Mapping[str, object], context_tokens: int, refused: bool
) -> None:
    reason = LlamaCppBackend().check("cpu", {"context_tokens": context_tokens}, config)
    assert (reason is not None) is refused
    if reason is not None:
        assert f"set context_tokens to {config['sliding_window']}" in reason
