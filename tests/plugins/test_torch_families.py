"""Causal models of every kind on the torch backend: what is written step by step is what the whole text gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batches import answer_alone, answers_at_once

pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np

import joulebench_profiles
from joulebench.api import Artifact, Traffic
from joulebench.errors import JoulebenchError, ModelError
from joulebench.models.catalogue import read_catalogue
from joulebench_plugins.torch.backend import TorchBackend
from joulebench_plugins.torch.session import TorchSession
from joulebench_plugins.torch.shape import ShapeInit
from joulebench_plugins.torch.states import Reader

SHAPES = read_catalogue([Path(joulebench_profiles.__file__).parent]).shapes
FAMILIES = sorted(name for name in SHAPES if name.startswith("tiny-") and name != "tiny-llama")
#: A window in one layer of two; experts; a convolution, a recurrence in heads, and one of the model's own.
QUICK = ("tiny-gemma2", "tiny-qwen3-moe", "tiny-lfm2", "tiny-mamba2", "tiny-rwkv")
PROMPT = [(31 * i * i + 7 * i + 11) % 509 + 3 for i in range(40)]
WRITTEN = 12

Open = Callable[..., TorchSession]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens a family with random weights, made once."""
    made: dict[str, Path] = {}
    sessions: list[TorchSession] = []

    def open_family(name: str, **settings: str | int | bool) -> TorchSession:
        if name not in made:
            source, made[name] = tmp_path_factory.mktemp("shape"), tmp_path_factory.mktemp(name)
            (source / "config.json").write_text(json.dumps(dict(SHAPES[name].config)))
            (source / "seed.json").write_text('{"seed": 0}')
            ShapeInit().convert(source, made[name], {})
        session = TorchBackend().open(Artifact("hf", made[name], "", 0), "cpu", {"threads": 1, **settings})
        assert isinstance(session, TorchSession)
        sessions.append(session)
        return session

    yield open_family
    for session in sessions:
        session.close()


def every_family(*but: str) -> list[object]:
    names = [name for name in FAMILIES if name not in but]
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def generated(session: TorchSession, prompt: list[int], count: int = WRITTEN) -> list[int]:
    return [session.prefill(prompt), *(session.step() for _ in range(count - 1))]


@pytest.mark.parametrize("name", every_family())
def test_logits_step_by_step_are_those_of_the_whole_text(opened: Open, name: str) -> None:
    import torch

    model = opened(name).model
    reader, ids = Reader(model), torch.tensor([PROMPT])
    with torch.inference_mode():
        whole = model(input_ids=ids, use_cache=False).logits[0]
        first, memory = reader.read(ids[:, :20], reader.new())
        rows = [first[0]]
        for place in range(20, len(PROMPT)):
            row, memory = reader.read(ids[:, place : place + 1], memory, torch.tensor([[place]]), last=True)
            rows.append(row[0])
    off = (torch.cat(rows) - whole).abs().max() / (whole.max() - whole.min())
    assert off < 1e-5


@pytest.mark.parametrize("name", every_family())
def test_written_tokens_are_the_likeliest_of_the_sessions_logits(opened: Open, name: str) -> None:
    session = opened(name)
    written = generated(session, PROMPT)
    logits = session.logits([*PROMPT, *written[:-1]])
    assert logits[len(PROMPT) - 1 :].argmax(-1).tolist() == written


@pytest.mark.parametrize("name", every_family())
def test_a_reset_forgets_and_scores_are_those_of_the_logits(opened: Open, name: str) -> None:
    session = opened(name)
    first = generated(session, PROMPT)
    session.reset()
    assert generated(session, PROMPT[::-1]) != first
    session.reset()
    assert generated(session, PROMPT) == first
    text = [*PROMPT, *first]
    rows = session.logits(text)[:-1].astype(np.float64)
    plain = rows - np.logaddexp.reduce(rows, axis=-1, keepdims=True)
    expected = plain[np.arange(len(text) - 1), text[1:]]
    assert session.score(text) == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize(("name", "pieces"), [("tiny-mamba", False), ("tiny-mamba2", True), ("tiny-gemma2", True)])
def test_a_text_is_read_in_pieces_by_models_that_go_on_from_one(
    opened: Open, name: str, pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(name)
    whole = session.logits(PROMPT)
    monkeypatch.setattr("joulebench_plugins.torch.session._SCORE_CHUNK", 7)
    assert Reader(session.model).goes_on_in_pieces is pieces
    assert np.abs(session.logits(PROMPT) - whole).max() < 1e-5 * np.ptp(whole)


@pytest.mark.parametrize("name", every_family())
def test_every_family_has_embeddings_and_can_be_trained(opened: Open, name: str) -> None:
    session = opened(name, optimizer="sgd", learning_rate=1e-2)
    alone, together = session.encode([PROMPT])[0], session.encode([PROMPT, PROMPT[:7]])
    assert alone.shape == (session.model.config.hidden_size,)
    assert np.abs(together[0] - alone).max() < 1e-4 * np.ptp(alone)
    before = -sum(session.score(PROMPT)) / (len(PROMPT) - 1)
    first = session.train_step(PROMPT)
    assert first == pytest.approx(before, rel=0.1)  # some families drop numbers at random while they are trained
    for _ in range(4):
        session.train_step(PROMPT)
    assert -sum(session.score(PROMPT)) / (len(PROMPT) - 1) < before


@pytest.mark.parametrize("name", every_family("tiny-rwkv"))
def test_operators_of_every_family_are_its_layers_and_what_stands_around_them(opened: Open, name: str) -> None:
    session = opened(name)
    operators = {kernel.name: kernel for kernel in session.operators(20)}
    whole = sum(kernel.per_token for kernel in operators.values() if kernel.name.startswith("layer"))
    if "q_proj" not in operators:
        assert whole == session.model.config.num_hidden_layers
    assert {"embedding", "head"} <= operators.keys()
    for kernel in operators.values():
        kernel.run(kernel.per_token)
        assert kernel.bytes_moved is not None


@pytest.mark.parametrize("name", every_family("tiny-rwkv"))
def test_a_static_cache_writes_what_a_growing_one_does(opened: Open, name: str) -> None:
    static = opened(name, cache="static", cache_tokens=64)
    expected = generated(opened(name), PROMPT)
    assert generated(static, PROMPT) == expected
    static.reset()
    assert generated(static, PROMPT) == expected


@pytest.mark.parametrize(
    ("settings", "name", "reason"),
    [
        # Of one model: transformers is asked about each in a process of its own.
        ({"cache": "static"}, "tiny-rwkv", "keep a state of their own size"),
        ({"attention": "sdpa"}, "tiny-rwkv", "have no sdpa"),
        ({"kv_bits": 8}, "tiny-rwkv", "keep other things (a state of its own)"),
        ({"kv_policy": "window"}, "tiny-rwkv", "not 'rwkv'"),
        pytest.param({"cache": "static"}, "tiny-mamba2", None, marks=pytest.mark.slow),
        pytest.param({"kv_bits": 8}, "tiny-mamba2", "keep other things (LinearAtt", marks=pytest.mark.slow),
        pytest.param({"attention": "sdpa"}, "tiny-gemma2", "have no sdpa", marks=pytest.mark.slow),
        pytest.param({"kv_bits": 8, "kv_group": 16}, "tiny-gpt2", None, marks=pytest.mark.slow),
    ],
)
def test_what_a_kind_of_cache_cannot_have_is_refused_by_the_plan(
    settings: dict[str, str | int], name: str, reason: str | None
) -> None:
    refused = TorchBackend().check("cpu", settings, SHAPES[name].config)
    assert (refused is None) if reason is None else reason in str(refused)


@pytest.mark.parametrize(
    ("name", "settings"), [("tiny-gemma2", {"weights": "int8-dynamic"}), ("tiny-qwen3-moe", {"dtype": "bfloat16"})]
)
def test_rounding_is_not_taken_for_a_look_ahead(opened: Open, name: str, settings: dict[str, str]) -> None:
    session = opened(name, **settings)
    assert len(generated(session, PROMPT)) == WRITTEN
    assert session.facts()["step_off"] is not None


SMALL = {"vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}


def saved(folder: Path, kind: str, **config: object) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config)).save_pretrained(folder)
    return folder


def test_a_model_that_keeps_nothing_is_read_whole_for_each_token(tmp_path: Path) -> None:
    folder = saved(tmp_path, "openai-gpt", **SMALL)
    with TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1}) as session:
        assert isinstance(session, TorchSession)
        written = generated(session, PROMPT)
        logits = session.logits([*PROMPT, *written[:-1]])
        assert logits[len(PROMPT) - 1 :].argmax(-1).tolist() == written
        assert session.facts()["cache_layers"] == "nothing: the whole text is read for each token"
        assert session.memory().kv_used_bytes == 0
        assert session.traffic() == Traffic()


def test_a_model_whose_tokens_see_those_after_them_is_refused(tmp_path: Path) -> None:
    folder = saved(
        tmp_path, "xlnet", vocab_size=512, d_model=64, n_layer=2, n_head=4, d_inner=128, initializer_range=0.2
    )
    with pytest.raises(ModelError, match="its tokens see those after them"):
        TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1})


# -- what is counted --------------------------------------------------------------------------

F32 = 4
HIDDEN, WIDTH, VOCABULARY, KV_WIDTH = 64, 128, 512, 2 * 16


def test_of_experts_those_count_that_a_token_uses(opened: Open) -> None:
    attention = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KV_WIDTH
    router, expert = 4 * HIDDEN, 3 * HIDDEN * 64
    layer = attention + router + 2 * expert
    norms = 2 * (2 * HIDDEN + 2 * 16) + HIDDEN
    traffic = opened("tiny-qwen3-moe").traffic()
    assert traffic.operations == 2 * (2 * layer + VOCABULARY * HIDDEN)
    assert traffic.weights_bytes == F32 * (2 * layer + VOCABULARY * HIDDEN + norms + HIDDEN)
    assert traffic.kv_position_bytes == 2 * 2 * KV_WIDTH * F32


def test_a_matrix_that_layers_share_is_read_once_and_multiplied_by_each(opened: Open) -> None:
    session = opened("tiny-zamba2")
    blocks = [layer.shared_transformer for layer in session.model.model.layers if hasattr(layer, "shared_transformer")]
    assert len(blocks) == 1
    counted = session.traffic()
    assert counted.operations is not None
    session.model.model.layers[0].twin = torch_linear(blocks[0])
    again = session.traffic()
    assert again.operations == counted.operations + 2 * blocks[0].feed_forward.down_proj.weight.numel()
    assert again.weights_bytes == counted.weights_bytes


def torch_linear(block: object) -> object:
    """Another module with the very same matrix."""
    import torch

    own = block.feed_forward.down_proj.weight  # type: ignore[attr-defined]
    layer = torch.nn.Linear(own.shape[1], own.shape[0], bias=False)
    layer.weight = own
    return layer


@pytest.mark.parametrize("name", ["tiny-gemma2", "tiny-qwen3-moe", "tiny-qwen3"])
def test_each_sequence_of_a_batch_is_what_it_is_alone(opened: Open, name: str) -> None:
    session = opened(name)
    prompts = [PROMPT[:9], PROMPT, PROMPT[5:17]]
    alone = [answer_alone(session, prompt) for prompt in prompts]
    assert answers_at_once(session, prompts) == alone
    assert answer_alone(session, prompts[1]) == alone[1], "one sequence after a batch"


@pytest.mark.parametrize("name", ["tiny-gpt2", "tiny-mamba2"])
def test_a_model_that_counts_places_itself_takes_prompts_of_one_length(opened: Open, name: str) -> None:
    session = opened(name)
    prompts = [PROMPT[:9], PROMPT[3:12]]
    assert answers_at_once(session, prompts) == [answer_alone(session, prompt) for prompt in prompts]
    with pytest.raises(JoulebenchError, match="prompts of one length only"):
        session.prefill_batch([PROMPT[:9], PROMPT])


def test_a_state_of_one_sequence_takes_no_batch(opened: Open) -> None:
    with pytest.raises(JoulebenchError, match="own state is one sequence's"):
        opened("tiny-rwkv").prefill_batch([PROMPT[:9], PROMPT[3:12]])


@pytest.mark.parametrize(
    ("name", "facts"), [("tiny-mamba2", ("none", "2 × state")), ("tiny-rwkv", ("none", "a state of its own"))]
)
def test_a_state_has_the_same_bytes_after_each_token(opened: Open, name: str, facts: tuple[str, str]) -> None:
    session = opened(name)
    session.reset()
    assert session.memory().kv_used_bytes == 0
    session.prefill(PROMPT[:5])
    first = session.memory()
    assert first.kv_used_bytes
    assert first.kv_used_bytes == first.kv_allocated_bytes
    session.step()
    assert session.memory() == first
    assert session.traffic().kv_position_bytes is None
    assert (session.facts()["attention"], session.facts()["cache_layers"]) == facts


def test_a_window_bounds_what_a_cache_holds(opened: Open) -> None:
    session = opened("tiny-gemma2")
    position = 2 * KV_WIDTH * F32
    session.prefill(PROMPT)
    # Three layers keep all, three the 31 positions that the next token sees beside its own.
    expected = 3 * position * (len(PROMPT) + 31)
    memory = session.memory()
    assert memory.kv_used_bytes == expected
    # Windows are the end of the prompt's own tensors, whose storages stay until the next token.
    assert memory.kv_allocated_bytes == 6 * position * len(PROMPT)
    assert session.facts()["cache_layers"] == "3 × window of 32, 3 × every position"
    assert session.traffic().kv_position_bytes is None
    assert session.traffic().weights_bytes is not None
    assert session.facts()["traffic_unknown"] == "some layers see a window only"
