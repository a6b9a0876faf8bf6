"""The worker itself, asked over its protocol, with the toy runtime in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from toyrun import PROMPTS, write_toy_checkpoint

from joulebench.models.store import hash_content
from joulebench.protocol import PROTOCOL_VERSION, Block
from joulebench.worker.process import WorkerError, WorkerProcess

Open = Callable[..., dict[str, Any]]

TOY: dict[str, object] = {
    "step_s": 0.001,
    "prefill_s": 0.001,
    "noise": 0.0,
    "print": False,
    "spin": False,
    "load_file": "",
    "crash": "none",
    "hang_s": 0.0,
    "allocate": 0,
    "at": "open",
    "request": 1,
    "odd_facts": False,
    "dtype": "float32",
    "scratch": 0,
    "errs": "never",
    "blur": 0.0,
}
GENERATE = {"prompts": "", "new_tokens": 4, "stop": False, "max_prompt_tokens": 64, "chat": False, "batch": 1}


@pytest.fixture
def worker(toy_environment: dict[str, str]) -> Iterator[WorkerProcess]:
    made = WorkerProcess(toy_environment)
    yield made
    made.kill()
    made.close()


@pytest.fixture
def opened(worker: WorkerProcess, tmp_path: Path) -> Open:
    """Opens the toy with these settings; gives the answer."""
    model = write_toy_checkpoint(tmp_path / "model")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    (tmp_path / "counter").write_text("41\n")
    edge = {"channel": 0, "path": str(tmp_path / "counter"), "key": None, "columns": [0], "after": None}

    def open_it(seed: int = 1, workload: str | None = "generate", **settings: object) -> dict[str, Any]:
        digest, size = hash_content(model)
        work = {**GENERATE, "prompts": str(prompts)}
        return worker.ask(
            {
                "op": "open",
                "backend": "toy",
                "device": "cpu",
                "runtime": [],
                "seed": seed,
                "artifact": {"format": "hf", "path": str(model), "content_hash": digest, "size_bytes": size},
                "checkpoint": str(model),
                "settings": {**TOY, **settings},
                "workload": workload,
                "workload_settings": work,
                "edges": [edge],
            },
            30,
        )

    return open_it


def test_the_greeting_states_protocol_and_process(worker: WorkerProcess) -> None:
    answer = worker.ask({"op": "hello"}, 30)
    assert answer == {"protocol": PROTOCOL_VERSION, "pid": worker.pid}


def test_opening_tells_what_was_loaded(opened: Open) -> None:
    start = time.perf_counter()
    answer = opened()
    asked_s = time.perf_counter() - start
    assert answer["requests"] == len(PROMPTS)
    assert answer["facts"] == {"kind": "toy", "dtype": "float32"}
    assert 0 < answer["load_s"] < asked_s
    assert answer["rss_base_bytes"] > 1 << 20


def test_a_block_has_edges_with_the_counters_around_each_phase(worker: WorkerProcess, opened: Open) -> None:
    opened()
    before = time.perf_counter_ns()
    block = Block.from_json(worker.ask({"op": "run", "first": 0, "count": 2}, 30), 1)
    after = time.perf_counter_ns()
    assert [[edge.kind for edge in request.edges] for request in block.requests] == [
        ["start", "prefill", "decode", "end"]
    ] * 2
    assert all(edge.raw == (41,) for request in block.requests for edge in request.edges)
    times = [edge.t_ns for request in block.requests for edge in request.edges]
    assert block.began_ns is not None
    assert [before, block.began_ns, *times, after] == sorted([before, block.began_ns, *times, after])
    for request in block.requests:
        assert (len(request.output), len(request.token_t_ns), request.decode_tokens) == (4, 4, 3)
        assert request.edges[1].t_ns < request.token_t_ns[0] <= request.edges[2].t_ns


def test_requests_go_round_the_list(worker: WorkerProcess, opened: Open) -> None:
    opened()
    block = Block.from_json(worker.ask({"op": "run", "first": 10, "count": 4}, 30), 1)
    assert [request.prompt_index for request in block.requests] == [10, 11, 0, 1]


def test_what_cannot_be_answered_is_an_error_and_the_worker_goes_on(worker: WorkerProcess, opened: Open) -> None:
    with pytest.raises(WorkerError, match="before a model is open"):
        worker.ask({"op": "run", "first": 0, "count": 1}, 30)
    opened()
    with pytest.raises(WorkerError, match="unknown request 'dance'"):
        worker.ask({"op": "dance"}, 30)
    with pytest.raises(WorkerError, match="no tokenizer"):
        worker.ask({"op": "score", "text": "x", "tokens": 16, "window": 8}, 30)
    assert worker.ask({"op": "run", "first": 0, "count": 1}, 30)["requests"]


def test_facts_that_are_no_json_are_an_error_with_its_reason(opened: Open) -> None:
    with pytest.raises(WorkerError, match="not JSON serializable"):
        opened(odd_facts=True)


def test_an_unknown_workload_is_an_error_that_names_the_known_ones(opened: Open) -> None:
    with pytest.raises(WorkerError, match="generate"):
        opened(workload="generat")


def test_the_inspection_tells_memory_by_system_and_runtime(worker: WorkerProcess, opened: Open) -> None:
    opened()
    worker.ask({"op": "run", "first": 0, "count": 1}, 30)
    answer = worker.ask({"op": "inspect"}, 30)
    assert answer["kv_allocated_bytes"] == 512
    assert answer["kv_used_bytes"] > 4
    assert answer["workspace_bytes"] is None
    assert answer["rss_peak_bytes"] >= answer["rss_bytes"] > 1 << 20
    assert answer["rss_anon_bytes"] + answer["rss_file_bytes"] <= answer["rss_bytes"]
    assert answer["evidence"] == {}


def test_noise_of_the_runtime_goes_to_standard_error(worker: WorkerProcess, opened: Open) -> None:
    opened(print=True)
    block = Block.from_json(worker.ask({"op": "run", "first": 0, "count": 1}, 30), 1)
    assert len(block.requests[0].output) == 4
    assert worker.ask({"op": "close"}, 30) == {}
    until_ended = worker.stderr_tail()
    assert until_ended is not None
    assert '{"op": "nonsense"}' in until_ended


def test_the_worker_ends_when_its_parent_closes_the_pipe(worker: WorkerProcess, opened: Open) -> None:
    opened()
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    assert worker._process.wait(timeout=20) == 0


def test_a_session_without_workload_answers_prompts_and_is_compared_with_itself(
    worker: WorkerProcess, opened: Open, tmp_path: Path
) -> None:
    assert opened(workload=None)["requests"] == 0
    folder = tmp_path / "reference"
    folder.mkdir()
    asked = {"prompts": str(tmp_path / "prompts.txt"), "count": 2, "tokens": 5}
    kept = worker.ask({"op": "refer", **asked, "folder": str(folder)}, 30)
    assert (kept["prompts"], kept["tokens"], kept["random"]) == (2, 5, True)
    assert {file.name for file in folder.iterdir()} == {"reference.json", "logits-0.npy", "logits-1.npy"}
    answer = worker.ask({"op": "agree", "folder": str(folder)}, 30)
    assert answer["divergences"] == []
    assert answer["forced"]["top1"] == answer["forced"]["positions"] == 10
    with pytest.raises(WorkerError, match="without a workload"):
        worker.ask({"op": "run", "first": 0, "count": 1}, 30)


def test_a_check_s_memory_is_not_in_the_peak_that_is_told(worker: WorkerProcess, opened: Open, tmp_path: Path) -> None:
    opened(scratch=128 * 2**20)
    before = worker.ask({"op": "inspect"}, 30)["rss_peak_bytes"]
    folder = tmp_path / "reference"
    folder.mkdir()
    asked = {"prompts": str(tmp_path / "prompts.txt"), "count": 1, "tokens": 8}
    worker.ask({"op": "refer", **asked, "folder": str(folder)}, 30)
    # numpy is now loaded and stays, so the peak may have grown; but not by what was freed.
    after = worker.ask({"op": "inspect"}, 30)
    assert after["rss_peak_bytes"] < max(before, after["rss_bytes"]) + 32 * 2**20
