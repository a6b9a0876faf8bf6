"""What counts as a block: the answer to ``run``, decoded."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from joulebench.protocol import Block, Inspected, Opened

REQUEST: dict[str, Any] = {
    "prompt_index": 3,
    "edges": [[100, "start", [1]], [110, "prefill", [1]], [150, "decode", [2]], [200, "end", [5]]],
    "prefill_tokens": 7,
    "decode_tokens": 2,
    "units": 3.0,
    "output": [9, 8, 7],
    "token_t_ns": [140, 170, 190],
    "values": {},
    "prompt": None,
    "response": None,
}
#: Parts of a request that no table can hold.
WRONG: list[dict[str, Any]] = [
    {"decode_tokens": 2**40},
    {"prefill_tokens": 10**5000},
    {"output": [9, 8, 2**33]},
    {"token_t_ns": [140, 170, 2**64]},
    {"units": 10**400},
    {"units": float("nan")},
    {"values": {"loss": float("inf")}},
    {"prompt": 5},
    {"prompt_index": "first"},
]
ANSWER: dict[str, Any] = {"cpu_s": 0.5, "began_ns": 90, "requests": [REQUEST]}


def test_a_block_knows_its_window_its_work_and_its_phases() -> None:
    second = {**REQUEST, "edges": [[300, "start", [5]], [400, "end", [6]]]}
    block = Block.from_json({**ANSWER, "requests": [REQUEST, second]}, 1)
    assert (block.t0_ns, block.t1_ns, block.began_ns) == (100, 400, 90)
    assert block.duration_s == pytest.approx(200e-9)
    assert block.units == 6.0
    phases = [(name, a.t_ns, b.t_ns) for name, a, b in block.requests[0].phases()]
    assert phases == [("prefill", 110, 150), ("decode", 150, 200)]
    assert block.requests[1].phases() == []


def test_a_worker_need_not_say_when_it_began() -> None:
    assert Block.from_json({"cpu_s": 0, "requests": [REQUEST]}, 1).began_ns is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("requests", []),
        ("requests", None),
        ("requests", [{}]),
        ("cpu_s", "much"),
        ("edges", []),
        ("edges", [[100, "start", [1]]]),
        ("edges", [[100, "start", []], [200, "end", []]]),
        ("edges", [[200, "start", [1]], [100, "end", [2]]]),
        ("edges", [[100, "start"], [200, "end"]]),
        ("edges", [[100, "start", [2**70]], [200, "end", [2]]]),
        ("cpu_s", 10**400),
        ("cpu_s", float("inf")),
        ("began_ns", 2**70),
        *(("requests", [{**REQUEST, **wrong}]) for wrong in WRONG),
    ],
)
def test_what_is_no_block_is_refused(key: str, value: object) -> None:
    answer = copy.deepcopy(ANSWER)
    (answer["requests"][0] if key == "edges" else answer)[key] = value
    with pytest.raises((KeyError, TypeError, ValueError)):
        Block.from_json(answer, 1)


@pytest.mark.parametrize("key", ["requests", "rss_base_bytes", "load_s", "traffic"])
def test_an_opened_model_tells_figures_that_a_table_can_hold(key: str) -> None:
    huge: object = 10**400
    assert Opened.from_json({"pid": 1, "load_s": 2, "traffic": {"operations": 4.0}}).traffic == {"operations": 4}
    with pytest.raises(ValueError, match="too large"):
        Opened.from_json({"pid": 1, key: {"operations": huge} if key == "traffic" else huge})


def test_memory_beyond_any_table_is_refused() -> None:
    assert Inspected.from_json({"pss_bytes": 5, "evidence": None}).bytes == {"pss_bytes": 5}
    with pytest.raises(ValueError, match="too large"):
        Inspected.from_json({"pss_bytes": 2**64})


def test_half_a_surrogate_pair_is_replaced() -> None:
    block = Block.from_json({"cpu_s": 0, "requests": [{**REQUEST, "response": "a\ud800b"}]}, 1)
    assert block.requests[0].response == "a?b"
