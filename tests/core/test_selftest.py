"""``joulebench selftest``: the rail's study by the command line, and the A/A test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulebench.commands.selftest import selftest
from joulebench.errors import JoulebenchError
from joulebench.meter.comparison import CellBlocks, compare
from joulebench.registry.loading import default_registry
from joulebench.selftest import SelfComparison, SelfTest, advice, pair_profile, twin_profile

FLAT = """version = 1
what = "no noise at all, short"
[[segment]]
kind = "constant"
power_w = 20.0
[work]
noise = 0.0
token_spread = 0.0
[protocol]
blocks = 4
idle_s = 2.0
"""


def write(folder: Path, text: str) -> str:
    file = folder / "flat.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(selftest, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout


def test_a_scenario_of_ones_own_is_studied_alone(tmp_path: Path) -> None:
    code, text = invoke("--rail", "--cells", "40", "--scenario", write(tmp_path, FLAT), "--json")
    document = json.loads(text)
    assert [row["scenario"] for row in document["coverage"]] == ["flat"]
    assert document["coverage"][0]["cells"] == 40
    assert document["pairs"] == []
    assert document["counter_faults"] is None
    assert code == (0 if document["good"] else 1)


def test_the_whole_study_is_told_as_json_too(tmp_path: Path) -> None:
    """It ended in a traceback after all was simulated: counts by flag were no JSON."""
    arguments = ("--cells", "4", "--pairs", "4", "--windows", "500", "--json")
    _, text = invoke("--rail", *arguments)
    study = json.loads(text)
    assert len(study["coverage"]) > 20
    assert all(row["pairs"] == 4 and 0 <= row["false_share"] <= 1 for row in study["coverage"])
    assert [(pairs["scenario"], pairs["difference"]) for pairs in study["pairs"]] == [
        ("pair", 0.0),
        ("pair", 0.05),
        ("one-process", 0.0),
    ]
    assert study["counter_faults"]["windows"] == 500
    assert sum(study["counter_faults"]["refused"].values()) > 0


def test_the_table_names_each_scenario_and_what_is_outside() -> None:
    _, text = invoke(
        "--rail",
        "--cells",
        "20",
        "--scenario",
        "constant",
        "--scenario",
        "too-short",
        "--pairs",
        "10",
        "--windows",
        "1000",
    )
    for part in (
        "constant",
        "too-short",
        "refused",
        "outside 93–97 % and not flagged",
        "J/token",
        "10 pairs",
        "1000 windows",
        "0 wrong energies stated",
    ):
        assert part in text


def test_dishonest_intervals_end_with_exit_code_1(tmp_path: Path) -> None:
    """Power that wanders over minutes cannot be seen in four blocks, nor can it be flagged."""
    text = FLAT.replace("noise = 0.0", 'noise = "5%"\ncorrelation_s = 100.0')
    code, shown = invoke("--rail", "--cells", "60", "--scenario", write(tmp_path, text))
    assert code == 1
    assert "NOT as promised" in shown


def test_a_fault_in_a_scenario_is_told_with_its_place(tmp_path: Path) -> None:
    file = write(tmp_path, FLAT.replace("noise = 0.0", "nois = 0.0"))
    with pytest.raises(JoulebenchError) as caught:
        invoke("--rail", "--scenario", file)
    assert caught.value.where == f"{file}:7: work.nois"


def test_options_of_the_rail_need_the_rail() -> None:
    result = CliRunner().invoke(selftest, ["--cells", "3"])
    assert result.exit_code == 2
    assert "--cells needs --rail" in result.output


def test_twins_are_one_cell_under_two_names(tmp_path: Path) -> None:
    file = tmp_path / "many.toml"
    file.write_text(
        'version = 1\n[model.x]\nsource = "shape:tiny-llama"\n[model.y]\n'
        'source = "shape:tiny-llama#2"\n[backend.torch]\ndtype = ["bfloat16", "float32"]\n'
        "[workload.decode]\nnew_tokens = [8, 16]\n[workload.prefill]\n"
    )
    twins = twin_profile(default_registry(), str(file), ("protocol.block_s=0.1",))
    first, second = twins.backends
    assert (first.label, second.label) == ("a", "b")
    assert replace(first, label="b") == second
    assert first.settings["dtype"] == "bfloat16"
    assert [len(axis) for axis in (twins.models, twins.workloads, twins.techniques)] == [1, 1, 1]
    assert twins.workloads[0].settings["new_tokens"] == 8
    assert twins.measurement.block_s == 0.1


def test_no_self_test_of_this_machine_takes_hardware_that_is_simulated() -> None:
    """The first backend by name was a simulated one, and its two twins agreed to the last digit."""
    registry = default_registry()
    for profile in (twin_profile(registry), pair_profile(registry)):
        for backend in profile.backends:
            devices = registry.backend(backend.plugin).devices()
            assert [device.name for device in devices] != ["simulated"]


def test_runs_compare_two_backends_where_two_work_here() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("llama_cpp")
    backends = [backend.plugin for backend in pair_profile(default_registry()).backends]
    assert len(set(backends)) == 2


def test_the_spread_of_runs_is_of_this_machine_not_of_the_rail() -> None:
    result = CliRunner().invoke(selftest, ["--rail", "--runs", "3"])
    assert result.exit_code == 2
    assert "--runs are for the test of this machine" in result.output


def found_with(ratio: float, scatter: float) -> SelfTest:
    values = [10 + scatter * (-1) ** (i // 2) for i in range(21)]
    other = [10 * ratio + scatter * (-1) ** i for i in range(21)]
    turns, processes = list(range(21)), [i // 7 for i in range(21)]
    compared = compare(
        CellBlocks(other, None, turns, processes, turns),
        CellBlocks(values, None, turns, processes, [turn + 0.5 for turn in turns]),
    )
    return SelfTest("x", 20, (SelfComparison("time", "s/token", None, compared),))


def test_a_false_difference_is_bad_and_asks_for_more_processes() -> None:
    told_apart = found_with(1.1, 0.01)
    assert not told_apart.good()
    assert "processes=3" in advice(told_apart)[0]
    fine = found_with(1.0, 0.01)
    assert fine.good()
    assert advice(fine) == []
    coarse = found_with(1.0, 2.0)
    assert coarse.good()
    assert any("longer blocks" in line for line in advice(coarse))


def test_an_a_a_test_runs_by_the_real_machinery() -> None:
    pytest.importorskip("torch")
    overrides = [
        "protocol.processes=1",
        "protocol.min_blocks=4",
        "protocol.max_blocks=4",
        "protocol.block_s=0.02",
        "protocol.idle_s=0.3",
        "protocol.warmup_min_s=0.1",
        "protocol.warmup_max_s=0.3",
        "protocol.repeat_contended=0",
        "sampler.calibrate_s=0.2",
        "backend.torch.threads=1",
    ]
    code, text = invoke("--json", *(word for override in overrides for word in ("--set", override)))
    document = json.loads(text)
    time_found = document["compared"][0]
    assert (time_found["quantity"], time_found["unit"]) == ("time", "s/token")
    assert time_found["comparison"]["n"] == 4
    assert time_found["comparison"]["paired"] is True
    assert code == (0 if document["good"] else 1)
