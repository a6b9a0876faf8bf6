"""Stored baselines are read strictly, and wrong uses of ``joulebench compare`` are told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_session
import pytest
from make_session import Cell

from joulebench.errors import SessionError
from joulebench.session import Session
from joulebench_reports.compare.baselines import read_baseline, save_baseline
from joulebench_reports.compare.sessions import side_of


@pytest.fixture
def session_folder(tmp_path: Path) -> Path:
    return make_session.write(tmp_path / "session", [Cell("a", "torch f32", processes=3)])


@pytest.fixture
def stored(tmp_path: Path, session_folder: Path) -> Path:
    file = tmp_path / "baseline.json"
    save_baseline(side_of(Session(session_folder)), file)
    return file


def test_a_baseline_comes_back_as_it_was(stored: Path, session_folder: Path) -> None:
    assert read_baseline(stored) == side_of(Session(session_folder))
    assert stored.stat().st_size < 10_000
    assert not [entry for entry in stored.parent.iterdir() if entry.name.startswith(".")]


def _first(document: dict[str, Any]) -> dict[str, Any]:
    estimates: dict[str, Any] = document["cells"][0]["estimates"][0]
    return estimates


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an unknown key": (lambda d: d.update(colour="red"), "colour is not known"),
    "an unknown key inside": (
        lambda d: _first(d).update(colour="red"),
        r"cells\[0\]\.estimates\[0\]\.colour is not known",
    ),
    "a missing key": (lambda d: d.pop("machine"), "machine is missing"),
    "a text for a number": (lambda d: _first(d).update(value="0.5"), "value must be a positive"),
    "a truth value for a number": (lambda d: _first(d).update(n=True), "n must be a whole number"),
    "a figure of zero": (lambda d: _first(d).update(value=0), "value must be a positive number"),
    "a negative uncertainty": (lambda d: _first(d).update(u=-1), "u must be a number that is not"),
    "an invented provenance": (lambda d: _first(d).update(provenance="felt"), "provenance must be"),
    "an invented metric": (lambda d: _first(d).update(metric="joy"), "metric must be one of"),
    "a list for the cells": (lambda d: d.update(cells={}), "cells must be a list"),
    "a newer format": (lambda d: d.update(format_version=2), "format 2; this joulebench reads 1"),
    "another format": (lambda d: d.update(format="x"), "no baseline of joulebench"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_baseline_is_refused_with_the_place(stored: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    document = json.loads(stored.read_text())
    change(document)
    stored.write_text(json.dumps(document))
    with pytest.raises(SessionError, match=message):
        read_baseline(stored)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"value": NaN}', "[]", "\x00\xff"])
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(SessionError, match="no baseline"):
        read_baseline(file)


def test_a_session_without_figures_makes_no_baseline(tmp_path: Path) -> None:
    empty = make_session.write(tmp_path / "x", [Cell("a", "a", status="failed", cause="y")])
    with pytest.raises(SessionError, match="no cell has figures"):
        save_baseline(side_of(Session(empty)), tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SESSION"], "missing argument 'CURRENT'"),
        (["SESSION", "nowhere"], "nowhere"),
        (["SESSION", "SESSION", "--save-baseline", "b.json"], "takes one session"),
        (["SESSION", "SESSION", "--threshold", "5"], "'5' is not a percentage such as 5%"),
        (["SESSION", "SESSION", "--threshold", "joy=5%"], "no metric 'joy'"),
        (["SESSION", "SESSION", "--ignore", "colour"], "no cell has 'colour'"),
        (["SESSION", "--save-baseline", "no/where/b.json"], "cannot be written"),
    ],
)
def test_wrong_use_is_exit_code_2_in_plain_words(session_folder: Path, arguments: list[str], message: str) -> None:
    words = [str(session_folder) if argument == "SESSION" else argument for argument in arguments]
    command = [sys.executable, "-m", "joulebench", "compare", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=session_folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
