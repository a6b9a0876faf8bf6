"""The contract of workloads, on a session that computes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.api import Outcome, Request, Workload, WorkloadContext
from joulebench.testing.contracts.base import (
    PluginContract,
    Subject,
    expect,
    expect_record,
    not_here,
    require_available,
    subject_of,
)
from joulebench.testing.sessions import VOCABULARY, LoggingRecorder

#: Units that the reports have words for.
UNITS: Final = ("token", "sequence", "sentence", "step", "byte", "operation", "call", "second")
_TEXT: Final = "The kettle sings before the water boils, and the cat knows what that means. "
_CONTEXT: Final = 4096


class WorkloadContract(PluginContract):
    """The promises of a workload: what it requires, what it counts, and where its phases are."""

    kind = "workload"

    def test_it_states_its_unit_phases_and_needs(self, plugin: Any) -> None:
        """A unit that reports can name; phases once each."""
        workload = subject_of(plugin).plugin
        expect(workload.unit in UNITS, f"its unit is {workload.unit!r}", f"use one of {', '.join(UNITS)}")
        expect(
            len(set(workload.phases)) == len(workload.phases),
            f"its phases are {workload.phases}",
            "name each phase once, in the order in which requests mark them",
        )

    def test_its_settings_can_be_checked(self, plugin: Any) -> None:
        """``check`` gives None for its own defaults; ``tokens_needed`` a count."""
        subject = subject_of(plugin)
        settings = subject.complete_settings()
        fault: object = subject.plugin.check(settings)
        expect(fault is None, f"check() refuses its settings: {fault}", "defaults must work together")
        needed: object = subject.plugin.tokens_needed(settings)
        expect(
            type(needed) is int and needed >= 0,
            f"tokens_needed() gave {needed!r}",
            "return the longest sequence that a request is sure to need, 0 if unknown",
        )

    def test_its_requests_fit_model_and_seed(self, plugin: Any, tmp_path: Path) -> None:
        """At least one; ids of the vocabulary; the same list for the same seed."""
        subject = subject_of(plugin)
        requests = _requests(subject, tmp_path)
        expect(
            bool(requests) and all(isinstance(request, Request) for request in requests),
            f"requests() gave {requests[:3]!r}",
            "return at least one Request: blocks walk through the list in a circle",
        )
        for request in requests:
            expect(
                all(type(token) is int and 0 <= token < VOCABULARY for token in request.tokens),
                f"request {request.index} has ids beyond the vocabulary of {VOCABULARY}",
                "draw ids below context.vocabulary_size, or take those of context.tokenize",
            )
            length = len(request.tokens) + request.new_tokens
            expect(
                length <= _CONTEXT,
                f"request {request.index} needs {length} positions of {_CONTEXT}",
                "cut prompts to context.context_length",
            )
        expect(
            requests == _requests(subject, tmp_path),
            "the same seed gives another list",
            "draw from random.Random(context.seed) alone",
        )

    def test_a_request_counts_its_work_and_marks_its_phases(self, plugin: Any, tmp_path: Path) -> None:
        """Units above 0, as many tokens as were written, phases in their order."""
        subject = subject_of(plugin)
        workload, settings = subject.plugin, _settings(subject, tmp_path)
        requests = _requests(subject, tmp_path)
        session = subject.session()
        for request in requests[:2]:
            workload.setup(session, request, settings)
            session.log.clear()
            outcome: object = workload.perform(session, request, settings, LoggingRecorder(session.log))
            expect(isinstance(outcome, Outcome), f"perform() gave {outcome!r}", "return an Outcome")
            assert isinstance(outcome, Outcome)  # noqa: S101
            _expect_counts(workload, outcome, session.log)

    def test_its_quality_can_be_recorded(self, plugin: Any, tmp_path: Path) -> None:
        """``quality`` of the sums of all requests' values, and of none at all."""
        subject = subject_of(plugin)
        workload, settings = subject.plugin, _settings(subject, tmp_path)
        request, session = _requests(subject, tmp_path)[0], subject.session()
        workload.setup(session, request, settings)
        outcome = workload.perform(session, request, settings, LoggingRecorder([]))
        expect_record(outcome.values, "values of an outcome")
        expect_record(workload.quality(outcome.values), "quality()")
        expect_record(workload.quality({}), "quality() of no values")


def _expect_counts(workload: Workload, outcome: Outcome, log: list[str]) -> None:
    expect(
        math.isfinite(outcome.units) and outcome.units > 0,
        f"a request did {outcome.units!r} {workload.unit}s",
        "count the work in the workload's unit: energy is divided by it",
    )
    phases = tuple(line.partition(" ")[2] for line in log if line.startswith("phase "))
    expect(
        phases == workload.phases,
        f"a request marks the phases {phases}, the workload states {workload.phases}",
        "call record.phase(name) for each of them, in their order",
    )
    stamps = log.count("token")
    wrote = len(outcome.output)
    expect(
        stamps in (0, wrote),
        f"{wrote} tokens were written and {stamps} stamped",
        "call record.token() when a token is known: times of tokens are made from it",
    )
    expect(
        outcome.prefill_tokens >= 0 and outcome.decode_tokens >= 0,
        f"it counts {outcome.prefill_tokens} prompt tokens and {outcome.decode_tokens} more",
        "the first token of an answer ends the prefill and is no decode token",
    )
    steps = log.count("step")
    expect(
        outcome.decode_tokens == steps,
        f"{steps} steps were made in the window, {outcome.decode_tokens} decode tokens counted",
        "decode_tokens counts the calls of step() in the window",
    )


def _settings(subject: Subject[Workload], folder: Path) -> dict[str, Any]:
    """The settings, with a file of text for every file that is wanted."""
    settings = subject.complete_settings()
    for option in subject.plugin.options:
        if option.type == "file" and option.name not in subject.settings:
            file = folder / f"{option.name}.txt"
            file.write_text((_TEXT * 40 + "\n") * 3, encoding="utf-8")
            settings[option.name] = str(file)
    return settings


def _requests(subject: Subject[Workload], folder: Path) -> Sequence[Request]:
    require_available(subject.plugin)
    settings = _settings(subject, folder)
    fault = subject.plugin.check(settings)
    if fault:
        not_here(f"its check() refuses the settings: {fault}")
    context = WorkloadContext(seed=3, vocabulary_size=VOCABULARY, context_length=_CONTEXT, tokenize=_tokenize)
    return list(subject.plugin.requests(context, settings))


def _tokenize(text: str, chat: bool) -> list[int]:
    return [byte % VOCABULARY for byte in text.encode()]
