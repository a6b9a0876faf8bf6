"""The figures of a comparison, on sessions whose logits are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulebench.agreement import LEAST_COSINE, TIE_SHARE, AgreementRecord, Comparison, agreement_record, verdict
from joulebench.api import BackendSession, MemoryUse
from joulebench.errors import ModelError, PluginError, ProfileError
from joulebench.worker.embeddings import compare_embeddings, keep_embeddings
from joulebench.worker.reference import compare, keep_reference, prompt_tokens, read_prompts

VOCABULARY = 12
ALL = frozenset({"generate", "logits"})


class Table(BackendSession):
    """Its logits depend on the last token alone: row ``t`` of a table after token ``t``."""

    vocabulary_size = VOCABULARY
    context_length = 40

    def __init__(self, table: Any) -> None:
        self.table = table
        self.last = 0

    def reset(self) -> None:
        self.last = 0

    def prefill(self, tokens: Sequence[int]) -> int:
        self.last = tokens[-1]
        return self.step()

    def step(self) -> int:
        self.last = int(self.table[self.last].argmax())
        return self.last

    def logits(self, tokens: Sequence[int]) -> Any:
        return self.table[list(tokens)].astype(np.float32)

    def memory(self) -> MemoryUse:
        return MemoryUse()


def table(seed: int = 3) -> Any:
    """Logits in which token t is followed by t + 1, two ahead of the next best."""
    logits = np.random.default_rng(seed).uniform(-1, 1, (VOCABULARY, VOCABULARY))
    for token in range(VOCABULARY):
        logits[token, (token + 1) % VOCABULARY] = 3.0
    return logits.astype(np.float32)


def compared(
    own: Any,
    folder: Path,
    prompts: Sequence[list[int]] = ([1, 2], [5]),
    tokens: int = 6,
    capabilities: frozenset[str] = ALL,
) -> Comparison:
    keep_reference(Table(table()), prompts, tokens, folder)
    return compare(Table(own), capabilities, folder, None)


def test_an_equal_session_agrees_and_its_divergence_is_zero(tmp_path: Path) -> None:
    comparison = compared(table(), tmp_path)
    assert (comparison.agreed_tokens, comparison.compared_tokens) == (12, 12)
    assert comparison.forced is not None
    assert (comparison.forced.top1, comparison.forced.positions) == (12, 12)
    assert comparison.forced.kl_nats_max == 0.0
    assert comparison.forced.perplexity_ratio == 1.0


def test_kl_and_perplexity_are_those_of_the_definition_over_the_answers(tmp_path: Path) -> None:
    own = table() + np.random.default_rng(9).normal(0, 0.3, (VOCABULARY, VOCABULARY))
    forced = compared(own.astype(np.float32), tmp_path).forced
    assert forced is not None
    rows = [2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 10]  # the tokens before each of the answers'
    first, second = (
        np.exp(item[rows].astype(float)) / np.exp(item[rows].astype(float)).sum(-1, keepdims=True)
        for item in (table(), own.astype(np.float32))
    )
    kl = (first * np.log(first / second)).sum(-1)
    assert forced.kl_nats_mean == pytest.approx(kl.mean(), rel=1e-9)
    assert forced.kl_nats_max == pytest.approx(kl.max(), rel=1e-9)
    answer = [(row + 1) % VOCABULARY for row in rows]
    place = range(len(rows))
    ratio = math.exp((np.log(first[place, answer]) - np.log(second[place, answer])).mean())
    assert forced.perplexity_ratio == pytest.approx(ratio, rel=1e-9)


def test_answers_are_told_apart_and_add_up_to_the_whole(tmp_path: Path) -> None:
    own = table() + np.random.default_rng(9).normal(0, 0.3, (VOCABULARY, VOCABULARY))
    forced = compared(own.astype(np.float32), tmp_path).forced
    assert forced is not None
    assert [answer.positions for answer in forced.by_prompt] == [6, 6]
    assert sum(answer.top1 for answer in forced.by_prompt) == forced.top1
    assert sum(answer.kl_nats for answer in forced.by_prompt) == pytest.approx(12 * forced.kl_nats_mean)
    assert sum(answer.nll_nats for answer in forced.by_prompt) == pytest.approx(forced.nll_nats)


def test_tokens_are_counted_by_answer_as_in_all(tmp_path: Path) -> None:
    for gap, counts in ((1.0, [(2, 6), (6, 6)]), (1e-7, [(2, 2), (6, 6)])):
        folder = tmp_path / str(gap)
        folder.mkdir()
        comparison = parted(folder, gap)
        assert comparison.agreed_by_prompt == counts
        assert sum(agreed for agreed, _ in counts) == comparison.agreed_tokens
        assert sum(held for _, held in counts) == comparison.compared_tokens


def test_a_worker_that_does_not_tell_answers_apart_costs_the_intervals_only(tmp_path: Path) -> None:
    data = compared(table(), tmp_path).to_json()
    del data["forced"]["by_prompt"]
    record = agreement_record({"label": "x"}, Comparison.from_json(data), None)
    assert record.kl_nats_mean == 0.0
    assert set(record.intervals) == {"agreed_share"}


def test_a_constant_that_is_added_to_all_logits_changes_nothing(tmp_path: Path) -> None:
    comparison = compared(table() + np.float32(64), tmp_path)
    assert comparison.agreed_tokens == 12
    assert comparison.forced is not None
    assert comparison.forced.kl_nats_max < 1e-9


def parted(tmp_path: Path, gap: float) -> Comparison:
    """After token 4 the session prefers 9, which the reference has ``gap`` behind its own 5."""
    close, own = table(), table()
    close[4, 9] = np.float32(3.0 - gap)
    own[4, 9] = np.float32(3.5)
    keep_reference(Table(close), [[1, 2], [5]], 6, tmp_path)
    return compare(Table(own), ALL, tmp_path, lambda ids: f"<{ids[0]}>")


def test_a_divergence_tells_position_tokens_and_gap(tmp_path: Path) -> None:
    (divergence,) = parted(tmp_path, 1.0).divergences
    assert (divergence.prompt, divergence.position) == (0, 2)
    assert (divergence.reference_token, divergence.token) == (5, 9)
    assert (divergence.reference_text, divergence.text) == ("<5>", "<9>")
    assert divergence.gap == pytest.approx(1.0, abs=1e-6)
    row = table()[4].astype(float)
    row[9] = 2.0
    assert divergence.tolerance == pytest.approx(TIE_SHARE * (3.0 - row.mean()), rel=1e-6)


def test_what_follows_a_tie_is_not_compared_and_what_follows_another_divergence_is_wrong(tmp_path: Path) -> None:
    tie, real = parted(tmp_path, 1e-5), parted(tmp_path, 1.0)
    assert (tie.ties, tie.agreed_tokens, tie.compared_tokens) == (1, 8, 8)
    assert (real.ties, real.agreed_tokens, real.compared_tokens) == (0, 8, 12)


def test_a_gap_just_beyond_the_tolerance_is_no_tie(tmp_path: Path) -> None:
    (divergence,) = parted(tmp_path, 1.1 * TIE_SHARE * 3).divergences
    assert divergence.gap > divergence.tolerance
    assert not divergence.tie


def test_tokens_alone_are_compared_where_there_are_no_logits(tmp_path: Path) -> None:
    comparison = compared(table(), tmp_path, capabilities=frozenset({"generate"}))
    assert comparison.forced is None
    assert comparison.agreed_tokens == 12


def test_a_comparison_comes_through_json_as_it_was(tmp_path: Path) -> None:
    comparison = parted(tmp_path, 1.0)
    assert Comparison.from_json(comparison.to_json()) == comparison


@pytest.mark.parametrize(
    ("own", "error", "told"),
    [
        (np.zeros((VOCABULARY, VOCABULARY + 3), np.float32), PluginError, "over 15 tokens"),
        (table() * np.float32(np.nan), ModelError, "not finite"),
    ],
)
def test_logits_that_cannot_be_compared_are_an_error(
    tmp_path: Path, own: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        compared(own, tmp_path)


def test_a_session_that_writes_nothing_cannot_agree(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="lacks the capability 'generate'"):
        compared(table(), tmp_path, capabilities=frozenset({"encode"}))


class Embedding(BackendSession):
    """Embeds a sentence as its tokens' sums; one that lets padding through adds the batch's length."""

    def __init__(self, *, masked: bool = True, size: int = 4) -> None:
        self._masked, self._size = masked, size

    def encode(self, sequences: Sequence[Sequence[int]]) -> Any:
        longest = max(map(len, sequences))
        padding = [0 if self._masked else longest - len(sequence) for sequence in sequences]
        return np.array([[len(s) + p, sum(s), *range(self._size - 2)] for s, p in zip(sequences, padding, strict=True)])

    def memory(self) -> MemoryUse:
        return MemoryUse()


def embedded(own: BackendSession, folder: Path) -> AgreementRecord:
    kept = keep_embeddings(Embedding(), [[1, 2], [3], [1, 1, 1, 1, 1, 1, 1, 1]], folder)
    assert kept["prompts"] == 3
    comparison = compare_embeddings(own, folder)
    assert Comparison.from_json(comparison.to_json()) == comparison
    return agreement_record({}, comparison, None)


def test_embeddings_agree_by_their_cosine_and_padding_that_shows_disagrees(tmp_path: Path) -> None:
    same, padded = embedded(Embedding(), tmp_path), embedded(Embedding(masked=False), tmp_path)
    assert same.cosine_min == pytest.approx(1.0)
    assert verdict(same) == ()
    assert (same.tokens, same.agreed_tokens, same.divergences) == (None, None, None)
    assert padded.cosine_min is not None
    assert padded.cosine_min < LEAST_COSINE
    assert "cosine" in verdict(padded)[0]


def test_embeddings_of_another_size_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="have 5 numbers, the reference's 4"):
        embedded(Embedding(size=5), tmp_path)


# -- the verdict ----------------------------------------------------------------------------------


def record(comparison: Comparison | None, **more: Any) -> AgreementRecord:
    return replace(agreement_record({}, comparison, None), **more)


def test_equal_cells_have_nothing_against_them(tmp_path: Path) -> None:
    assert verdict(record(compared(table(), tmp_path))) == ()


def test_a_tie_is_no_disagreement_and_any_other_parting_is(tmp_path: Path) -> None:
    assert not any("parted" in word for word in verdict(record(parted(tmp_path, 1e-5))))
    assert any("parted" in word for word in verdict(record(parted(tmp_path, 1.0))))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"top1_share": 0.989}, "98.90 %"),
        ({"perplexity_ratio": 1.0011}, "+0.11 %"),
        ({"perplexity_ratio": 0.9989}, "-0.11 %"),
        ({"text_perplexity_ratio": 1.5}, "the text is off by +50.00 %"),
    ],
)
def test_each_limit_has_its_own_word(tmp_path: Path, change: dict[str, float], told: str) -> None:
    (result,) = verdict(record(compared(table(), tmp_path), **change))
    assert told in result


def test_within_the_limits_nothing_is_said(tmp_path: Path) -> None:
    near = {"top1_share": 0.99, "perplexity_ratio": 1.0009, "text_perplexity_ratio": 0.9991}
    assert verdict(record(compared(table(), tmp_path), **near)) == ()


def test_what_is_unknown_is_null_and_nothing_is_held_against_it() -> None:
    result = record(None)
    assert result.agreed_tokens is None
    assert result.kl_nats_mean is None
    assert verdict(result) == ()


# -- prompts --------------------------------------------------------------------------------------


def test_a_model_without_tokenizer_gets_the_same_random_prompts_for_a_seed(tmp_path: Path) -> None:
    session = Table(table())
    first = prompt_tokens(session, None, tmp_path, 3, 5, seed=1)
    assert first == prompt_tokens(session, None, tmp_path, 3, 5, seed=1)
    assert first != prompt_tokens(session, None, tmp_path, 3, 5, seed=2)
    assert [len(answer) for answer in first] == [32, 32, 32]
    assert all(0 <= token < VOCABULARY for answer in first for token in answer)


def test_prompts_are_cut_so_that_the_answer_fits_the_context(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\ntwo\nthree\n")
    prompts = prompt_tokens(Table(table()), lambda text, chat: [len(text)] * 100 if chat else [], file, 2, 30, 1)
    assert prompts == [[3] * 10, [3] * 10]
    with pytest.raises(ProfileError, match="no room for a prompt"):
        prompt_tokens(Table(table()), None, file, 2, 40, 1)


def test_a_line_that_is_no_prompt_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"text": "a"}\n{"prompt": "b"}\n')
    assert read_prompts(file) == ["a", "b"]
    file.write_text('{"text": "a"}\n[1]\n')
    with pytest.raises(ProfileError, match=r"prompts\.jsonl:2"):
        read_prompts(file)
    file.write_text("\n")
    with pytest.raises(ProfileError, match="holds no prompt"):
        read_prompts(file)
