"""The workloads: what they ask of a session, how they count, and where their phases lie."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from joulebench.api import BackendSession, MemoryUse, Request, Workload, WorkloadContext
from joulebench.errors import ModelError, ProfileError
from joulebench_plugins.workloads import joulebench_workloads
from joulebench_plugins.workloads.encode import Encode
from joulebench_plugins.workloads.generate import Generate
from joulebench_plugins.workloads.idle import Idle
from joulebench_plugins.workloads.phases import Decode, Prefill
from joulebench_plugins.workloads.prompts import read_prompts
from joulebench_plugins.workloads.score import Score, perplexity


class Counting(BackendSession):
    """Keeps a log of its calls; each token is one more than the last."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self._last = 0

    def reset(self) -> None:
        self.log.append("reset")

    def prefill(self, tokens: Sequence[int]) -> int:
        self.log.append(("prefill", len(tokens)))
        self._last = 100
        return self._last

    def step(self) -> int:
        self.log.append("step")
        self._last += 1
        return self._last

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        self.log.append(("score", len(tokens)))
        return [-0.5] * (len(tokens) - 1)

    def encode(self, sequences: Sequence[Sequence[int]]) -> Any:
        self.log.append(("encode", [len(sequence) for sequence in sequences]))
        return [[1.0]] * len(sequences)

    def memory(self) -> MemoryUse:
        return MemoryUse()


class Record:
    """Writes phases and tokens into the session's log, so that their order can be seen."""

    def __init__(self, log: list[object]) -> None:
        self._log = log

    def phase(self, name: str) -> None:
        self._log.append(f"phase {name}")

    def token(self) -> None:
        self._log.append("token")


def context(**more: Any) -> WorkloadContext:
    values: dict[str, Any] = {
        "seed": 1,
        "vocabulary_size": 50,
        "context_length": 40,
        "tokenize": lambda text, chat: [ord(letter) % 50 for letter in text],
    }
    return WorkloadContext(**{**values, **more})


def settings_of(workload: Workload, **more: Any) -> dict[str, Any]:
    return {**workload.default_settings(), **more}


def perform(workload: Workload, request: Request, **settings: Any) -> tuple[Any, list[object]]:
    session = Counting()
    chosen = settings_of(workload, **settings)
    workload.setup(session, request, chosen)
    session.log.append("window")
    outcome = workload.perform(session, request, chosen, Record(session.log))
    return outcome, session.log


def test_generate_gives_the_first_token_to_prefill_and_the_rest_to_decode() -> None:
    outcome, log = perform(Generate(), Request(0, (1, 2, 3), 3))
    assert log == [
        "reset",
        "window",
        "phase prefill",
        ("prefill", 3),
        "token",
        "phase decode",
        "step",
        "token",
        "step",
        "token",
    ]
    assert (outcome.prefill_tokens, outcome.decode_tokens, outcome.units) == (3, 2, 3.0)
    assert outcome.output == [100, 101, 102]


@pytest.mark.parametrize(("end", "written"), [(101, [100, 101]), (100, [100]), (7, [100, 101, 102])])
def test_with_stop_an_answer_ends_at_the_models_end_token_or_its_most(
    prompts: Path, end: int, written: list[int]
) -> None:
    workload, session = Generate(), Counting()
    settings = settings_of(workload, prompts=str(prompts), new_tokens=3, stop=True)
    request = workload.requests(context(eos_tokens=frozenset({end})), settings)[0]
    outcome = workload.perform(session, request, settings, Record(session.log))
    assert outcome.output == written
    assert (outcome.decode_tokens, outcome.units) == (len(written) - 1, len(written))
    assert session.log.count("token") == len(written)
    assert session.log.count("step") == len(written) - 1


def test_stop_needs_a_token_that_ends_an_answer(prompts: Path) -> None:
    with pytest.raises(ProfileError, match="no token that ends"):
        generate_requests(prompts, context(), stop=True)


def test_prefill_counts_prompt_tokens() -> None:
    outcome, log = perform(Prefill(), Request(0, (1, 2, 3), 1))
    assert log == ["reset", "window", "phase prefill", ("prefill", 3), "token"]
    assert (outcome.prefill_tokens, outcome.decode_tokens, outcome.units) == (3, 0, 3.0)


def test_decode_reads_its_context_outside_of_the_window() -> None:
    outcome, log = perform(Decode(), Request(0, (1, 2, 3), 2))
    assert log == ["reset", ("prefill", 3), "window", "phase decode", "step", "token", "step", "token"]
    assert (outcome.prefill_tokens, outcome.decode_tokens, outcome.units) == (0, 2, 2.0)


def test_a_decode_s_contexts_are_stretches_of_a_text_that_the_seed_draws(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(chr(60 + i % 50) for i in range(1000)), encoding="utf-8")
    settings = settings_of(Decode(), context=20, text=str(text))
    drawn = Decode().requests(context(), settings)
    assert len(drawn) == 16
    for request in drawn:
        assert len(request.tokens) == 20
        assert {(b - a) % 50 for a, b in itertools.pairwise(request.tokens)} == {1}
    assert len({request.tokens for request in drawn}) > 8
    assert drawn == Decode().requests(context(), settings)
    assert drawn != Decode().requests(context(seed=2), settings)


def test_a_text_too_short_for_a_context_is_an_error_with_its_length(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("short", encoding="utf-8")
    with pytest.raises(ProfileError, match="only 5 tokens; a context needs 20"):
        Decode().requests(context(), settings_of(Decode(), context=20, text=str(text)))


def test_without_a_tokenizer_a_decode_s_contexts_are_random(tmp_path: Path) -> None:
    settings = settings_of(Decode(), context=20, text=str(tmp_path / "unread"))
    assert all(len(request.tokens) == 20 for request in Decode().requests(context(tokenize=None), settings))


def test_score_counts_the_tokens_that_have_a_probability() -> None:
    outcome, log = perform(Score(), Request(0, (1, 2, 3)))
    assert log == ["reset", "window", "phase score", ("score", 3)]
    assert outcome.units == 2.0
    assert outcome.values == {"nll_nats": 1.0, "scored_tokens": 2.0}


def test_encode_reads_batches_and_the_last_one_is_filled_up_from_the_start(tmp_path: Path) -> None:
    file = tmp_path / "sentences"
    file.write_text("a\nbb\nccc\n")
    workload = Encode()
    settings = settings_of(workload, sentences=str(file), batch=2)
    requests = workload.requests(context(shuffle=False), settings)
    session, outcomes = Counting(), []
    for request in requests:
        outcomes.append(workload.perform(session, request, settings, Record(session.log)))
    assert session.log == ["phase prefill", ("encode", [1, 2]), "phase prefill", ("encode", [3, 1])]
    assert [(outcome.prefill_tokens, outcome.units) for outcome in outcomes] == [(3, 2.0), (4, 2.0)]


def test_encode_reads_random_tokens_of_a_set_length() -> None:
    workload = Encode()
    settings = settings_of(workload, batch=4, length=5)
    request = workload.requests(context(tokenize=None), settings)[1]
    session = Counting()
    outcome = workload.perform(session, request, settings, Record(session.log))
    assert session.log[-1] == ("encode", [5, 5, 5, 5])
    assert outcome.prefill_tokens == 20
    assert workload.tokens_needed(settings) == 5


def test_idle_asks_nothing_of_the_model_and_counts_seconds() -> None:
    outcome, log = perform(Idle(), Request(0), seconds=0.01)
    assert log == ["window"]
    assert outcome.units >= 0.01


@pytest.mark.parametrize("made", joulebench_workloads(), ids=lambda made: made.name)
def test_what_a_workload_marks_is_what_it_declares(made: type[Workload]) -> None:
    workload = made()
    quick = {"seconds": 0.01} if workload.unit == "second" else {}
    _, log = perform(workload, Request(0, (1, 2, 3), 3), **quick)
    marked = [entry[6:] for entry in log if isinstance(entry, str) and entry.startswith("phase ")]
    assert tuple(marked) == workload.phases


@pytest.mark.parametrize(
    ("workload", "settings", "needed"),
    [
        (Generate(), {"new_tokens": 9}, 10),
        (Prefill(), {"length": 9}, 10),
        (Decode(), {"context": 9, "new_tokens": 3}, 13),
        (Score(), {"window": 9}, 9),
        (Idle(), {}, 0),
    ],
)
def test_a_workload_says_how_much_context_it_needs(workload: Workload, settings: dict[str, Any], needed: int) -> None:
    assert workload.tokens_needed(settings_of(workload, **settings)) == needed


# -- requests -----------------------------------------------------------------------------------


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Six prompts, a line each."""
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"prompt number {n}\n\n" for n in range(6)), "utf-8")
    return file


def generate_requests(prompts: Path, made: WorkloadContext, **more: Any) -> Sequence[Request]:
    settings = settings_of(Generate(), prompts=str(prompts), new_tokens=4, **more)
    return Generate().requests(made, settings)


def test_prompts_come_in_an_order_of_the_seed(prompts: Path) -> None:
    first, again, other = (
        [request.text for request in generate_requests(prompts, context(seed=seed))] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sorted(map(str, first)) == sorted(map(str, other)) == sorted(read_prompts(prompts))


def test_a_prompt_is_cut_to_its_limit_and_to_what_the_answer_leaves(prompts: Path) -> None:
    assert {len(r.tokens) for r in generate_requests(prompts, context())} == {15}
    assert {len(r.tokens) for r in generate_requests(prompts, context(), max_prompt_tokens=5)} == {5}
    short = context(context_length=10)
    assert {len(r.tokens) for r in generate_requests(prompts, short)} == {6}


def test_an_answer_that_fills_the_context_is_refused(prompts: Path) -> None:
    with pytest.raises(ProfileError, match="no room for a prompt"):
        generate_requests(prompts, context(context_length=4))


def test_a_model_without_a_tokenizer_gets_ids_of_its_vocabulary(prompts: Path) -> None:
    for request in generate_requests(prompts, context(tokenize=None)):
        assert request.text is None
        assert len(request.tokens) == 4, "three words of about 1.3 tokens"
        assert all(0 <= token < 50 for token in request.tokens)


@pytest.mark.parametrize(("workload", "length"), [(Prefill(), 12), (Decode(), 12)])
def test_random_prompts_are_of_one_length_and_the_seeds(workload: Workload, length: int) -> None:
    key = "length" if workload.name == "prefill" else "context"
    settings = settings_of(workload, **{key: length})
    requests = workload.requests(context(), settings)
    assert {len(request.tokens) for request in requests} == {length}
    assert len({request.tokens for request in requests}) == len(requests) > 1
    assert requests == workload.requests(context(), settings)
    assert requests != workload.requests(context(seed=2), settings)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.jsonl", '{"text": "a"}\n{"txt": "b"}\n', 'p.jsonl:2: is not a JSON object with a "text"'),
        ("p.jsonl", "[]\n", "p.jsonl:1"),
        ("p.jsonl", '{"text": ""}\n', "p.jsonl:1"),
        ("p.jsonl", "{\n", "p.jsonl:1"),
        ("p.txt", "\n \n", "holds no prompt"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_with_their_line(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(ProfileError) as caught:
        read_prompts(tmp_path / name)
    assert words in str(caught.value)


def test_prompts_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="not UTF-8"):
        read_prompts(tmp_path / "p.txt")


def test_a_prompt_may_hold_any_character_that_json_allows(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"text": "one\u2028two\x85three"}\r\n{"prompt": "melodi\'s key"}\n', "utf-8")
    assert read_prompts(file) == ["one\u2028two\x85three", "melodi's key"]


# -- score --------------------------------------------------------------------------------------


def score_requests(tmp_path: Path, text: str, made: WorkloadContext, **more: Any) -> Any:
    file = tmp_path / "text.txt"
    file.write_text(text, "utf-8")
    return Score().requests(made, settings_of(Score(), text=str(file), **more))


def test_a_text_is_scored_in_whole_windows_up_to_its_limit(tmp_path: Path) -> None:
    requests = score_requests(tmp_path, "x" * 100, context(), tokens=35, window=10)
    assert [len(request.tokens) for request in requests] == [10, 10, 10]


def test_a_text_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="has only 3 tokens; a window needs 10"):
        score_requests(tmp_path, "abc", context(), window=10)


def test_without_a_tokenizer_no_text_can_be_scored(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tokenizer"):
        score_requests(tmp_path, "abc", context(tokenize=None))


def test_a_window_larger_than_the_text_used_is_refused_beforehand() -> None:
    assert Score().check(settings_of(Score(), window=100, tokens=50)) == ("window is larger than tokens")
    assert Score().check(settings_of(Score())) is None


def test_perplexity_is_e_to_the_mean_loss_and_unknown_where_it_is_no_number() -> None:
    assert perplexity(math.log(8.0) * 5, 5) == pytest.approx(8.0)
    for loss, tokens in ((0.0, 0), (1e6, 1), (math.inf, 1), (math.nan, 1)):
        assert perplexity(loss, tokens) is None


def test_quality_is_taken_over_all_tokens_and_not_over_requests() -> None:
    totals = {"nll_nats": 6.0, "scored_tokens": 3.0}
    assert Score().quality(totals) == {
        "perplexity": pytest.approx(math.exp(2.0)),
        "nll_nats_per_token": 2.0,
        "tokens": 3,
    }
    assert Score().quality({}) == {}
