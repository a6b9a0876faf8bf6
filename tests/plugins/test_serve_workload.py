"""The workload ``serve``: which arrivals it makes of which settings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from joulebench.api import Arrival, Served, WorkloadContext
from joulebench.errors import JoulebenchError
from joulebench.profile.values import complete
from joulebench.testing.sessions import LoggingRecorder, ScriptedSession
from joulebench_plugins.server.traces import read_trace
from joulebench_plugins.server.workload import Serve

TRACE = Path(__file__).with_name("load.jsonl")
CONTEXT = WorkloadContext(7, 264, 4096, lambda text, chat: [len(word) for word in text.split()])


class Asked(ScriptedSession):
    """Keeps what it was asked for."""

    arrivals: Sequence[Arrival] = ()
    concurrency: int | None = None

    def serve(self, arrivals: Sequence[Arrival], *rest: Any) -> Sequence[Served]:
        self.arrivals, self.concurrency = arrivals, rest[1]
        return super().serve(arrivals, *rest)


def window(tmp_path: Path, number: int = 0, **given: object) -> Asked:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"word{number}" for number in range(200)))
    workload, session = Serve(), Asked()
    settings = complete(workload.options, {"text": str(text), **given}, str)
    request = workload.requests(CONTEXT, settings)[number]
    workload.setup(session, request, settings)
    workload.perform(session, request, settings, LoggingRecorder([]))
    return session


def test_arrivals_have_the_mean_distance_of_their_rate(tmp_path: Path) -> None:
    due_s = [one.due_s for one in window(tmp_path, rate_per_s=50.0, window_s=20.0, prompt_tokens=2).arrivals]
    steps = [after - before for before, after in pairwise(due_s)]
    assert due_s == sorted(due_s)
    assert max(due_s) <= 20
    assert statistics.mean(steps) == pytest.approx(1 / 50, rel=0.1)
    # Of an exponential distribution the deviation is the mean.
    assert statistics.stdev(steps) == pytest.approx(1 / 50, rel=0.2)


def test_the_seed_draws_the_same_window_again_and_each_window_is_another(tmp_path: Path) -> None:
    first, again, other = (window(tmp_path, number, rate_per_s=5.0).arrivals for number in (0, 0, 1))
    assert list(first) == list(again)
    assert list(first) != list(other)


def test_prompts_have_the_tokens_that_were_asked_for(tmp_path: Path) -> None:
    for one in window(tmp_path, rate_per_s=20.0, prompt_tokens=30, spread="50%").arrivals:
        assert 15 <= one.prompt_tokens <= 45
        assert len(one.prompt.split()) == one.prompt_tokens


def test_a_trace_gives_times_and_lengths(tmp_path: Path) -> None:
    session = window(tmp_path, trace=str(TRACE))
    assert [round(one.due_s, 3) for one in session.arrivals] == [0.0, 0.1, 0.25]
    assert [one.prompt_tokens for one in session.arrivals] == [12, 20, 8]
    assert [one.new_tokens for one in session.arrivals] == [4, 3, 2]
    assert session.concurrency is None


def test_a_trace_beside_a_concurrency_gives_lengths_alone(tmp_path: Path) -> None:
    session = window(tmp_path, trace=str(TRACE), concurrency=2, requests=5)
    assert [one.new_tokens for one in session.arrivals] == [4, 3, 2, 4, 3]
    assert session.concurrency == 2


def test_lines_of_guidellm_give_prompts(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "What is a joule?", "output_tokens_count": 9}\n')
    [line] = read_trace(file)
    assert (line.at_s, line.text, line.new_tokens) == (None, "What is a joule?", 9)


def test_a_window_without_an_answer_is_an_error(tmp_path: Path) -> None:
    class Failing(Asked):
        def serve(self, arrivals: Sequence[Arrival], *rest: Any) -> Sequence[Served]:
            return [Served(0, 0, None, 1, 1, 0, "the stream was cut")]

    workload, session = Serve(), Failing()
    settings = complete(workload.options, {"text": str(TRACE)}, str)
    [request, *_] = workload.requests(CONTEXT, settings)
    with pytest.raises(JoulebenchError, match="none of 1 requests was answered; the first: the stream was cut"):
        workload.perform(session, request, settings, LoggingRecorder([]))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds no request"),
        ("{", ":1: is no JSON object"),
        ('{"timestamp": "soon", "input_length": 1}', "is no time in ms"),
        ('{"timestamp": 1}', "neither a text nor the length"),
        ('{"input_length": 0}', "is no number of tokens"),
        ('{"input_length": 1}\n{"input_length": 1, "timestamp": 3}', "some lines have a timestamp"),
    ],
)
def test_a_trace_that_is_none_says_where(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(text)
    with pytest.raises(JoulebenchError) as raised:
        read_trace(file)
    assert fault in str(raised.value)


def test_a_rate_and_a_concurrency_exclude_each_other() -> None:
    assert "not both" in str(Serve().check({"rate_per_s": 1.0, "concurrency": 2}))
