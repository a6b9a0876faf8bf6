"""Which reference a profile means, what the plan says of it, and what is wrong use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matrix_plugins import backend, converter, plan_of
from toyrun import Bench

from joulebench.api import Availability
from joulebench.errors import ProfileError
from joulebench.plan.cells import Plan, PlannedReference

SHOWS = ("generate", "logits")
A, B = backend("a", capabilities=SHOWS), backend("b")
BASE = '[backend.a]\ndtype = ["float32", "int8"]\n[backend.b]\n[workload.work]\n'


def planned(reference: str, body: str = BASE, *classes: type, more: str = "") -> Plan:
    text = f"{body}[agreement]\nreference = {reference}\nprompts = '{Path(__file__)}'\n{more}"
    return plan_of(text, *(classes or (A, B)))


def reference(*given: str | type) -> PlannedReference:
    (reference,) = planned(*given).references.values()  # type: ignore[arg-type]
    return reference


def test_without_the_table_there_is_no_reference() -> None:
    assert plan_of(BASE, A, B).references == {}


def test_a_pattern_picks_a_backend_and_its_settings() -> None:
    result = reference('{ backend = "a", dtype = "int8" }')
    assert (result.label, result.backend_plugin, result.device) == ("a int8", "a", "cpu")
    assert result.backend_settings["dtype"] == "int8"
    assert result.reason is None
    assert [step.name for step in result.transforms] == ["init"]


def test_of_several_that_match_the_first_is_taken() -> None:
    assert reference('{ backend = "a" }').backend_settings["dtype"] == "float32"


def test_one_that_cannot_run_is_passed_over_for_one_that_can() -> None:
    away = backend("away", capabilities=SHOWS, missing=Availability.no("not here", "install it"))
    body = "[backend.away]\n[backend.a]\n[workload.work]\n"
    assert reference('{ dtype = "float32" }', body, away, A).backend == "a"
    assert reference('{ backend = "away" }', body, away, A).reason == "not here (install it)"


def test_every_model_has_its_reference_and_its_own_way_there() -> None:
    other = backend("a", accepts=("packed",), capabilities=SHOWS)
    pack = converter("pack", "hf", "packed")
    body = '[model.second]\nsource = "shape:tiny#2"\n[backend.a]\n[workload.work]\n'
    reference = planned('{ backend = "a" }', body, other, pack).references
    assert set(reference) == {"m", "second"}
    assert [step.name for step in reference["second"].transforms] == ["init", "pack"]


def test_a_reference_that_shows_no_logits_says_so() -> None:
    result = reference('{ backend = "b" }')
    assert result.reason is not None
    assert "a reference needs the capability 'logits', which backend 'b' does not have" in (result.reason)


def test_a_device_that_is_not_here_is_the_reason() -> None:
    result = reference('{ backend = "a", device = "gpu:1" }')
    assert result.reason == "device 'gpu:1' is not here; a offers: cpu"


def test_a_reference_may_be_a_backend_whose_cells_are_excluded() -> None:
    plan = planned('{ backend = "a" }', more='[[exclude]]\nbackend = "a"\n')
    assert {cell.backend for cell in plan.cells} == {"b"}
    assert plan.references["m"].backend == "a"


@pytest.mark.parametrize(
    ("pattern", "told", "hint"),
    [
        ('{ backend = "c" }', "'c' is not a value of 'backend'", "valid: a, b"),
        ('{ dtype = "float64" }', "'float64' is not a value of 'dtype'", "did you mean 'float32'"),
        ('{ workload = "work" }', "unknown key 'workload'", "valid: backend, device, dtype"),
        ('{ backend = "b", dtype = "int8" }', "matches no backend", "no backend has all of them"),
        ("{}", "names no reference", 'reference = { backend = "NAME" }'),
        ('"a"', "must be a table", "agreement.reference"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_an_error_with_its_place(pattern: str, told: str, hint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        planned(pattern)
    text = str(caught.value)
    assert told in text
    assert hint in text
    assert "p.toml:" in text


def test_prompts_that_are_not_there_are_an_error_before_anything_starts() -> None:
    text = f'{BASE}[agreement]\nreference = {{ backend = "a" }}\nprompts = "none.txt"\n'
    with pytest.raises(ProfileError, match="cannot read"):
        plan_of(text, A, B)


def test_the_estimate_counts_the_references_and_each_cell_s_comparison() -> None:
    without = plan_of(BASE, A, B).duration.minimum_s
    # A load and 10 × 20 tokens at 0.03 s for the reference, and as many tokens for three cells.
    minimum_s = planned('{ backend = "a" }', more="count = 10\ntokens = 20\n").duration.minimum_s
    assert minimum_s - without == pytest.approx(8 + 4 * 200 * 0.03)
    # Cells that differ in their workload alone are compared once.
    two = BASE.replace("[workload.work]", "[workload.work]\nlength = [5, 6]")
    more = planned('{ backend = "a" }', two, more="count = 10\ntokens = 20\n").duration.minimum_s
    assert more - plan_of(two, A, B).duration.minimum_s == pytest.approx(8 + 4 * 200 * 0.03)
    assert planned('{ backend = "b" }').duration.minimum_s == without


def test_the_plan_as_json_holds_the_references() -> None:
    (reference,) = json.loads(json.dumps(planned('{ backend = "a" }').to_json()))["references"]
    assert (reference["label"], reference["model"], reference["reason"]) == ("a", "m", None)


# -- the command ----------------------------------------------------------------------------------


def test_joulebench_plan_says_what_is_compared_with_what(bench: Bench) -> None:
    more = '\n[agreement]\nreference = { backend = "truth" }\ncount = 3\ntokens = 5\n'
    words = [sys.executable, "-m", "joulebench", "plan"]

    def told(plugin: str) -> str:
        profile = bench.profile({"truth": {"plugin": plugin}, "b": {}}, more=more)
        return subprocess.run(
            [*words, profile], env=bench.environment, capture_output=True, text=True, check=True
        ).stdout

    line = "agreement is checked first: 3 × 5 tokens against truth [cpu], prompts of builtin:short"
    assert line in told("toy")
    assert "agreement is not checked, no reference: truth [cpu] cannot run: a reference needs" in (told("mutetoy"))
