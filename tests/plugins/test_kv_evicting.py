"""Caches that keep some positions, against a model that forgets nothing and masks instead."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from kv_models import HEAD_SIZE, KV_HEADS, LAYERS, POSITION, opened, sequence, write_model  # noqa: E402
from kv_reference import MaskedLlama, Rules  # noqa: E402
from llama_models import generated  # noqa: E402

from joulebench_plugins.torch.backend import TorchBackend  # noqa: E402

BUDGET, COUNT = 20, 24
PROMPT = sequence(60)
RULES = {
    "window": Rules("window", BUDGET, sinks=3),
    "h2o": Rules("h2o", BUDGET, window=BUDGET // 2),
    "snapkv": Rules("snapkv", BUDGET, window=6),
    "tova": Rules("tova", BUDGET),
    "expected-attention": Rules("expected-attention", BUDGET, sinks=2),
    "fastgen": Rules("fastgen", BUDGET, sinks=2, recovery=0.6, local=0.2, frequent=0.2),
}
EVERY_STEP = [name for name, rules in RULES.items() if rules.every_step]


def settings(rules: Rules) -> dict[str, str | int | float]:
    chosen: dict[str, str | int | float] = {
        "kv_policy": rules.policy,
        "kv_budget": rules.budget,
        "kv_sinks": rules.sinks,
        "kv_window": rules.window,
        "kv_chunk": rules.chunk,
    }
    if rules.policy == "fastgen":
        chosen |= {"kv_recovery": rules.recovery, "kv_local": rules.local, "kv_frequent": rules.frequent}
    return chosen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("kv"))


@pytest.mark.parametrize("policy", RULES)
def test_greedy_tokens_are_those_of_masking_the_evicted_positions(folder: Path, policy: str) -> None:
    rules = RULES[policy]
    with opened(folder, **settings(rules)) as session, opened(folder) as plain:
        expected, _ = MaskedLlama(plain.model, rules).generate(PROMPT, COUNT)
        full = generated(plain, PROMPT, COUNT)
        assert generated(session, PROMPT, COUNT) == expected
        assert session.observed("kv.evict")["kv_evicted"]
        assert expected != full, "a policy that changes nothing would prove little"


@pytest.mark.parametrize("policy", RULES)
def test_logits_of_a_text_are_those_of_masking_the_evicted_positions(folder: Path, policy: str) -> None:
    rules = RULES[policy]
    with opened(folder, **settings(rules)) as session, opened(folder) as plain:
        expected = MaskedLlama(plain.model, rules).score(PROMPT)
        logits = torch.from_numpy(session.logits(PROMPT))
        assert torch.allclose(logits, expected, atol=2e-4)
        full = torch.from_numpy(plain.logits(PROMPT))
        # What comes before the first cut is the full model's; later something is missing.
        assert torch.allclose(logits[: rules.chunk], full[: rules.chunk], atol=1e-4)
        assert not torch.allclose(logits, full, atol=1e-2)


@pytest.mark.parametrize("policy", RULES)
def test_scores_are_taken_through_the_compressed_cache(folder: Path, policy: str) -> None:
    with opened(folder, **settings(RULES[policy])) as session:
        logits = torch.from_numpy(session.logits(PROMPT)).log_softmax(-1)
        expected = [logits[place, token].item() for place, token in enumerate(PROMPT[1:])]
        assert session.score(PROMPT) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("policy", [name for name in RULES if name != "fastgen"])
def test_a_budget_that_is_never_reached_changes_nothing(folder: Path, policy: str) -> None:
    chosen = settings(RULES[policy]) | {"kv_budget": len(PROMPT) + COUNT}
    with opened(folder, **chosen) as session, opened(folder) as plain:
        assert generated(session, PROMPT, COUNT) == generated(plain, PROMPT, COUNT)
        logits, full = session.logits(PROMPT), plain.logits(PROMPT)
        assert torch.allclose(torch.from_numpy(logits), torch.from_numpy(full), atol=1e-4)
        session.score(PROMPT)
        session.reset()
        observed = session.observed("kv.evict")
        assert observed["kv_evicted"] is False
        assert "nothing was evicted" in observed["note"]
        assert observed["kv_tokens_kept_min"] == observed["kv_tokens_seen"] == len(PROMPT) - 1


@pytest.mark.parametrize("policy", EVERY_STEP)
def test_bytes_are_those_of_the_budget_however_long_the_text(folder: Path, policy: str) -> None:
    rules = RULES[policy]
    room = rules.chunk if policy == "window" else 1
    with opened(folder, **settings(rules)) as session:
        for count in (COUNT, 3 * COUNT):
            session.reset()
            generated(session, PROMPT, count)
            observed = session.observed("kv.evict")
            assert observed["kv_tokens_seen"] == len(PROMPT) + count - 1
            assert observed["kv_tokens_kept_min"] == observed["kv_tokens_kept_max"] == BUDGET
            assert observed["kv_full_bytes"] == (len(PROMPT) + count - 1) * POSITION
            assert observed["kv_claimed_bytes"] == observed["kv_used_bytes"] == BUDGET * POSITION
            assert observed["kv_allocated_bytes"] == (BUDGET + room) * POSITION
            memory = session.memory()
            assert memory.kv_used_bytes == BUDGET * POSITION
            assert memory.kv_allocated_bytes == (observed["kv_allocated_bytes"] + observed["kv_bookkeeping_bytes"])


@pytest.mark.parametrize("policy", ["snapkv", "expected-attention"])
def test_a_policy_for_prompts_keeps_all_of_the_answer(folder: Path, policy: str) -> None:
    with opened(folder, **settings(RULES[policy])) as session:
        session.prefill(PROMPT)
        observed = session.observed("kv.evict")
        assert observed["kv_tokens_kept_mean"] == BUDGET
        # Room for an answer beside, and no more: the prompt's own storage is gone.
        assert BUDGET * POSITION < observed["kv_allocated_bytes"] <= (BUDGET + 64) * POSITION
        generated(session, PROMPT, COUNT)
        observed = session.observed("kv.evict")
        kept = BUDGET + COUNT - 1
        assert observed["kv_tokens_kept_mean"] == kept
        assert observed["kv_claimed_bytes"] == observed["kv_used_bytes"] == kept * POSITION


def test_a_share_makes_the_budget_of_each_prompt(folder: Path) -> None:
    with opened(folder, kv_policy="h2o", kv_share=0.25, kv_sinks=0) as session:
        for length in (40, 80):
            session.reset()
            session.prefill(sequence(length))
            assert session.observed("kv.evict")["kv_tokens_kept_max"] == length // 4


def test_fastgen_frees_what_the_widest_head_leaves_and_says_what_was_claimed(folder: Path) -> None:
    rules = RULES["fastgen"]
    with opened(folder, **settings(rules)) as session, opened(folder) as plain:
        session.prefill(PROMPT)
        observed = session.observed("kv.evict")
        reference = MaskedLlama(plain.model, rules)
        reference.feed(PROMPT, reading=True)
    widths = [max(asked) for asked in reference.asked]
    claimed = sum(map(sum, reference.asked)) / (LAYERS * KV_HEADS)
    assert (observed["kv_tokens_kept_min"], observed["kv_tokens_kept_max"]) == (min(widths), max(widths))
    assert observed["kv_used_bytes"] == sum(widths) * POSITION // LAYERS
    assert observed["kv_tokens_claimed_mean"] == pytest.approx(claimed)
    assert observed["kv_claimed_bytes"] <= observed["kv_used_bytes"]


def test_a_needle_is_found_while_it_is_kept_and_lost_when_it_is_not(folder: Path) -> None:
    # The next token's logits depend on an early token only while its position is in the cache.
    other = [*PROMPT[:10], (PROMPT[10] + 1) % 160, *PROMPT[11:]]

    def last(budget: int, prompt: list[int]) -> object:
        with opened(folder, kv_policy="window", kv_budget=budget, kv_sinks=2, kv_chunk=1, attention="sdpa") as session:
            return torch.from_numpy(session.logits(prompt))[-1]

    assert not torch.allclose(last(55, PROMPT), last(55, other), atol=1e-3)
    # Two layers: what the first layer saw of it is gone as well after twice the window.
    assert torch.allclose(last(16, PROMPT), last(16, other), atol=1e-5)


def test_a_text_without_a_cache_is_embedded_and_trained_as_ever(folder: Path) -> None:
    with opened(folder, **settings(RULES["h2o"])) as session, opened(folder) as plain:
        generated(session, PROMPT, 4)
        assert session.encode([PROMPT]) == pytest.approx(plain.encode([PROMPT]), abs=1e-5)
        assert session.train_step(PROMPT) == pytest.approx(plain.train_step(PROMPT), abs=1e-4)


def test_a_session_writes_the_same_again_after_a_reset_and_a_scored_text(folder: Path) -> None:
    with opened(folder, **settings(RULES["tova"])) as session:
        first = generated(session, PROMPT, COUNT)
        session.score(sequence(100, start=5))
        session.reset()
        assert generated(session, PROMPT, COUNT) == first


def test_the_record_says_what_the_cache_is_and_leaves_the_traffic_unknown(folder: Path) -> None:
    with opened(folder, **settings(RULES["h2o"])) as session, opened(folder) as plain:
        facts = session.facts()
        assert (facts["cache"], facts["kv_policy"], facts["kv_budget"]) == ("evicting", "h2o", 20)
        assert session.traffic().kv_position_bytes is None
        assert session.traffic().weights_bytes == plain.traffic().weights_bytes
        assert plain.traffic().kv_position_bytes == POSITION
        with pytest.raises(NotImplementedError):
            plain.observed("kv.evict")


def test_keys_stay_at_their_true_positions(folder: Path) -> None:
    with opened(folder, **settings(RULES["window"])) as session:
        generated(session, PROMPT, COUNT)
        length = len(PROMPT) + COUNT - 1
        kept = {0, 1, 2, *range(length - (BUDGET - 3), length)}
        for layer in session._cache.layers:
            keys, values, positions = layer.entries()
            assert keys.shape == values.shape == (KV_HEADS, BUDGET, HEAD_SIZE)
            assert all(set(head.tolist()) == kept for head in positions)
            assert layer.get_seq_length() == length


CONFIG = {"model_type": "llama", "head_dim": 64, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("given", "config", "reason"),
    [
        ({"kv_policy": "h2o", "cache": "static"}, CONFIG, "need cache = 'dynamic'"),
        ({"kv_policy": "h2o", "attention": "eager"}, CONFIG, "leave attention at 'auto'"),
        ({"kv_policy": "h2o", "kv_bits": 4}, CONFIG, "cannot be combined"),
        ({"kv_policy": "h2o"}, {**CONFIG, "model_type": "gpt2"}, "not 'gpt2'"),
        ({"kv_policy": "tova"}, {**CONFIG, "sliding_window": 64}, "sees every position"),
        ({"kv_bits": 4}, {**CONFIG, "layer_types": ["linear_attention"]}, "sees every position"),
        ({"kv_policy": "snapkv", "kv_budget": 32, "kv_window": 32}, CONFIG, "nothing to choose"),
        ({"kv_policy": "window", "kv_budget": 4}, CONFIG, "nothing to choose"),
        ({"kv_policy": "window", "kv_share": 0.5}, CONFIG, "give kv_budget"),
        ({"kv_bits": 4, "kv_group": 24}, CONFIG, "does not divide heads of 64"),
        ({"kv_policy": "expected-attention"}, {**CONFIG, "model_type": "smollm3"}, "does not know how"),
        ({"mlp_active": 0.5}, CONFIG, "needs mlp_text"),
        ({"mlp_active": 0.5, "mlp_text": "a.txt"}, {**CONFIG, "model_type": "phi3"}, "of type 'phi3' have none"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(
    given: dict[str, str | int | float], config: dict[str, object], reason: str
) -> None:
    assert reason in (TorchBackend().check("cpu", given, config) or "")


@pytest.mark.parametrize("policy", RULES)
def test_settings_that_can_work_are_not(policy: str) -> None:
    assert TorchBackend().check("cpu", settings(RULES[policy]), CONFIG) is None


@pytest.mark.parametrize("policy", RULES)
def test_other_number_types_evict_too(folder: Path, policy: str) -> None:
    with opened(folder, dtype="bfloat16", **settings(RULES[policy])) as session:
        assert len(generated(session, PROMPT, COUNT)) == COUNT
        observed = session.observed("kv.evict")
        assert observed["kv_evicted"]
        assert observed["kv_type"] == "bfloat16"
        assert observed["kv_full_bytes"] == observed["kv_tokens_seen"] * POSITION // 2
        assert all(score <= 0 for score in session.score(PROMPT))
