"""The messages on docs/worker-protocol.md are those that a real worker takes and gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from typing import Any, Final

import pytest
from doc_pages import ROOT, blocks
from page_plugin import Example

from joulebench.meter.live.sampler import edge_reader, load_factory
from joulebench.protocol import Block, OpenOrder

_MESSAGES: Final = [
    (block.words[0], json.loads(block.code)) for block in blocks("worker-protocol.md") if block.language == "json"
]
_PAIRS: Final = [(request, answer) for (kind, request), (_, answer) in pairwise(_MESSAGES) if kind == "request"]


@pytest.fixture(scope="module")
def answers(example: Example) -> dict[str, dict[str, Any]]:
    """What a worker with the example backend answers to the page's requests."""
    folder = example.folder
    (folder / "prompts.jsonl").write_text('{"text": "one two three"}\n')
    (folder / "reference").mkdir()
    paths = [str(folder), *(str(ROOT / item) for item in ("core", "plugins"))]
    worker = subprocess.Popen(
        [sys.executable, "-m", "joulebench.worker"],
        cwd=folder,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    document: dict[str, dict[str, Any]] = {}
    for request, _ in _PAIRS:
        order = dict(request)
        if order["op"] == "open":
            # The page's own, on the example's backend and a counter that is a plain file.
            order |= {"backend": "counting", "settings": {}}
            order["edges"] = [{**order["edges"][0], "path": "power1_input"}]
        worker.stdin.write(json.dumps(order) + "\n")
        worker.stdin.flush()
        document[order["op"]] = json.loads(worker.stdout.readline())
    assert worker.wait(timeout=30) == 0
    return document


@pytest.mark.parametrize("op", ["hello", "open", "run", "refer", "agree", "inspect", "close"])
def test_an_answer_has_the_fields_that_the_page_shows(op: str, answers: dict[str, dict[str, Any]]) -> None:
    (shown,) = [answer for request, answer in _PAIRS if request["op"] == op]
    assert set(answers[op]) == set(shown)
    if op == "run":
        assert set(answers[op]["requests"][0]) == set(shown["requests"][0])
        kinds = [edge[1] for edge in answers[op]["requests"][0]["edges"]]
        assert kinds == [edge[1] for edge in shown["requests"][0]["edges"]]


def test_the_page_s_order_to_open_is_what_the_parent_sends() -> None:
    (shown,) = [request for request, _ in _PAIRS if request["op"] == "open"]
    assert json.loads(json.dumps(OpenOrder.from_json(shown).to_json())) == shown


def test_a_model_without_tokenizer_answers_score_with_an_error(answers: dict[str, dict[str, Any]]) -> None:
    assert set(answers["score"]["error"]) == {"kind", "message"}


def test_the_page_s_block_is_one_that_the_parent_reads() -> None:
    (shown,) = [answer for request, answer in _PAIRS if request["op"] == "run"]
    block = Block.from_json(shown, counters=1)
    assert [name for name, _, _ in block.requests[0].phases()] == ["prefill", "decode"]
    assert block.requests[0].decode_tokens == len(block.requests[0].token_t_ns) - 1


def test_the_page_s_sources_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a fresh sampler, which has imported none of the plugin.
    monkeypatch.delitem(sys.modules, "joulebench_plugins.nvml.reader", raising=False)
    file, reader = [message for kind, message in _MESSAGES if kind == "source"]
    (busy,) = edge_reader([file])()
    assert busy is not None
    assert busy > 0
    assert callable(load_factory(reader["factory"]))
