"""What backends share: cores, threads, questions to another interpreter."""

from __future__ import annotations

import os
import sys

import pytest

from joulebench.backendkit import allowed_cores, asked_elsewhere, cpu_device, thread_count


def test_threads_are_those_set_or_one_for_each_allowed_core() -> None:
    assert thread_count({"threads": 7}) == 7
    assert thread_count({}) == allowed_cores() == len(os.sched_getaffinity(0))
    assert cpu_device().description == f"{allowed_cores()} allowed cores"


def test_the_answer_is_the_last_line_of_another_process() -> None:
    code = "import sys, xml.dom, json; print('chatter'); print(json.dumps('xml.dom' in sys.modules))"
    before = "xml.dom" in sys.modules
    assert asked_elsewhere(code) is True
    assert ("xml.dom" in sys.modules) is before


@pytest.mark.parametrize("code", ["", "raise SystemExit(1)", "print('no JSON')", "1/0"])
def test_no_answer_is_none(code: str) -> None:
    assert asked_elsewhere(code) is None
