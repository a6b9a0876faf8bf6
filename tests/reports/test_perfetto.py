"""The trace keeps to the rules of Chrome's trace event format, and holds what the cell did."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import make_session
import pytest

from joulebench.session import Session
from joulebench.session.tables import EventRow, RequestRow, TableRow
from joulebench_reports.renderers import PerfettoRenderer

Event = dict[str, Any]
#: What an event of each kind must have ("Trace Event Format", the Chromium project).
REQUIRED = {
    "X": {"name", "ph", "ts", "dur", "pid", "tid"},
    "C": {"name", "ph", "ts", "pid", "args"},
    "i": {"name", "ph", "ts", "pid", "tid", "s"},
    "M": {"name", "ph", "pid", "args"},
}


def events(session: Session, **settings: int) -> list[Event]:
    document = json.loads(PerfettoRenderer().render(session, settings))
    assert set(document) <= {"traceEvents", "displayTimeUnit", "otherData"}
    assert document["displayTimeUnit"] in ("ms", "ns")
    return list(document["traceEvents"])


def check(rows: list[Event]) -> None:
    """The rules of the format."""
    for event in rows:
        assert REQUIRED[event["ph"]] <= set(event), event
        assert isinstance(event["pid"], int)
        if event["ph"] != "M":
            assert math.isfinite(event["ts"])
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] == "C":
            assert event["args"]
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
        if event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
    names = {event["pid"] for event in rows if event["name"] == "process_name"}
    assert {event["pid"] for event in rows} <= names
    tracks: dict[tuple[int, int], list[Event]] = {}
    for event in rows:
        if event["ph"] == "X":
            tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    for track in tracks.values():  # slices of a track lie apart (half a ns for rounding)
        ordered = sorted(track, key=lambda event: event["ts"])
        for before, after in pairwise(ordered):
            assert before["ts"] + before["dur"] <= after["ts"] + 0.001


def slices(rows: list[Event], category: str) -> list[Event]:
    return [row for row in rows if row["ph"] == "X" and row["cat"] == category]


@pytest.fixture
def traced(tmp_path: Path) -> Session:
    """A cell of three blocks, with phases at the edges and with token times."""
    path = make_session.write(tmp_path / "s", [make_session.Cell("a", "torch", blocks=3, status="unfinished")])
    rows: list[RequestRow] = []
    edges: list[EventRow] = []
    for row in Session(path).rows(RequestRow):
        begin, end = row.t0_ns or 0, row.t1_ns or 0
        first = begin + int((row.prefill_s or 0.0) * 1e9)
        rows.append(replace(row, token_t_ns=(first, first + 1_000_000, end)))
        edges += [
            EventRow(t_ns=t, kind="phase", block=row.block, request=row.request, detail=detail)
            for t, detail in ((begin, "start"), (begin, "prefill"), (first, "decode"), (end, "end"))
        ]
    writer = make_session.SessionWriter(path)
    (path / "cells" / "a" / "requests.arrow.part").unlink()
    contents: dict[str, Sequence[TableRow]] = {"requests": rows, "events": edges}
    for name, content in contents.items():
        stream = writer.stream("a", name)
        stream.append(content)
        stream.finish()
    return Session(path)


def test_the_trace_holds_blocks_requests_phases_and_tokens(traced: Session) -> None:
    result = events(traced)
    check(result)
    counts = {name: len(slices(result, name)) for name in ("blocks", "requests", "phases", "tokens")}
    assert counts == {"blocks": 3, "requests": 6, "phases": 12, "tokens": 18}
    assert {event["name"] for event in slices(result, "phases")} == {"prefill", "decode"}
    first = slices(result, "requests")[0]
    own = {"block": 0, "request": 0}
    phases = [event for event in slices(result, "phases") if event["args"] == own]
    assert sum(phase["dur"] for phase in phases) == pytest.approx(first["dur"], abs=0.01)
    assert slices(result, "blocks")[0]["ts"] == 0


def test_sensors_are_counters_with_unit_and_provenance(traced: Session) -> None:
    rows = [event for event in events(traced) if event["ph"] == "C"]
    names = {row["name"] for row in rows}
    assert "estimate/cpu, W (estimated)" in names
    assert "thermal/package, °C (measured)" in names
    watts = [row["args"]["W"] for row in rows if "estimate" in row["name"]]
    assert max(watts) == pytest.approx(20, abs=0.6)


def test_points_and_tokens_can_be_limited(traced: Session) -> None:
    result = events(traced, points=10, tokens=5)
    check(result)
    assert len(slices(result, "tokens")) == 5
    memory = [entry for entry in result if entry["ph"] == "C" and entry["name"].startswith("memory")]
    assert 5 <= len(memory) <= 12


def test_each_cell_is_a_process_under_its_label(session: Session) -> None:
    result = events(session)
    check(result)
    named = [entry["args"]["name"] for entry in result if entry["name"] == "process_name"]
    assert named == ["torch f32", "torch int8", "torch sparse", "onnx train"]


def test_a_chosen_cell_is_alone_in_the_trace(session: Session) -> None:
    result = events(session.only(["torch int8"]))
    named = [entry["args"]["name"] for entry in result if entry["name"] == "process_name"]
    assert named == ["torch int8"]


def test_poor_and_hostile_sessions_give_a_trace_too(poor_session: Session, hostile_session: Session) -> None:
    for item in (poor_session, hostile_session):
        check(events(item))
        assert "\x1b" not in PerfettoRenderer().render(item, {})
