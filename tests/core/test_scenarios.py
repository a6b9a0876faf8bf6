"""Scenarios of the virtual rail in TOML: what they say, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from joulebench.errors import JoulebenchError
from joulebench.rail.cells import simulate_cell
from joulebench.rail.files import (
    SECTIONS,
    SEGMENT_OPTIONS,
    find_scenario,
    parse_scenario,
    read_scenario,
    shipped_scenarios,
)
from joulebench.rail.scenarios import Drift, Level, Protocol, PulseTrain, Sensor, Wander, Work

DOCUMENT = Path(__file__).parents[2] / "docs" / "rail.md"
LEVEL = '[[segment]]\nkind = "constant"\npower_w = 20.0\n'
HEAD = "version = 1\n" + LEVEL


def documented_example() -> str:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if "[[segment]]" in block)


def test_the_documented_example_is_read_and_simulated() -> None:
    scenario = parse_scenario(documented_example(), "docs/board.toml")
    assert scenario.name == "board"
    assert scenario.sensor == Sensor("counter", 0.01, 0.001, 500.0, 0.1, 0.02, sampling_s=0.05)
    assert scenario.machine[0] == Level(0.0, 15.0, 6.0, 6.0)
    assert scenario.machine[2:4] == (Level(25.0, 40.0, 6.3, 6.3), Level(40.0, float("inf"), 6.4, 6.4))
    assert scenario.machine[4:] == (Wander(0.1, 0.3), PulseTrain(0.2, 1.0, 0.25), Drift(0.001, 10.0))
    cell = simulate_cell(scenario, 1)
    assert len(cell.blocks) == 60
    assert cell.gross is not None
    assert cell.gross.mean == pytest.approx(cell.truth.gross_j, rel=0.2)


def test_every_key_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    options = [option for section in SECTIONS.values() for option in section]
    options += [option for kind in SEGMENT_OPTIONS.values() for option in kind]
    for name in [*SEGMENT_OPTIONS, *(option.name for option in options)]:
        assert f"`{name}`" in text, name


def test_what_a_file_leaves_out_has_the_defaults_of_the_classes() -> None:
    scenario = parse_scenario(HEAD, "x.toml")
    assert (scenario.sensor, scenario.work, scenario.protocol) == (Sensor(), Work(), Protocol())


def test_every_shipped_scenario_can_be_read_and_says_what_it_is() -> None:
    shipped = shipped_scenarios()
    assert len(shipped) >= 13
    assert all(scenario.what for scenario in shipped)
    assert find_scenario("constant") in shipped


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("version = 1\n", "segment 1", "names no"),
        (LEVEL, "x.toml", "has no version"),
        ("version = 2\n" + LEVEL, "x.toml:1: version", "unknown"),
        (HEAD + "[sensors]\n", "x.toml:5: sensors", "unknown key 'sensors'"),
        (HEAD + "[sensor]\nperiods = 1\n", "x.toml:6: sensor.periods", "unknown key"),
        (HEAD + "[sensor]\nperiod_s = -1.0\n", "x.toml:6: sensor.period_s", "below the minimum"),
        (HEAD + '[sensor]\nkind = "meter"\n', "x.toml:6: sensor.kind", "not one of"),
        (HEAD + '[sensor]\nkind = "gauge"\n', "x.toml:6: sensor.kind", "must be sampled"),
        (HEAD + "[work]\nprocesses = 30\n", "x.toml:6: work.processes", "each needs two"),
        (HEAD + "watts = 3\n", "x.toml:5: segment 1: watts", "unknown key"),
        (HEAD + LEVEL, "x.toml:5: segment 2", "inside segment 1"),
        (HEAD + "end_s = 0.0\n", "x.toml:5: segment 1: end_s", "does not lie after"),
        (HEAD + '[[segment]]\nkind = "wave"\n', "x.toml:6: segment 2: kind", "unknown kind"),
        (HEAD + '[[segment]]\nkind = "ramp"\nfrom_w = 1\nto_w = 2\n', "segment 2", "needs end_s"),
        (
            HEAD + '[[segment]]\nkind = "pulses"\npower_w = 1\nperiod_s = 1\non_s = 2\n',
            "x.toml:9: segment 2: on_s",
            "longer than its period",
        ),
        ("version = ", "x.toml", "not valid TOML"),
    ],
)
def test_a_fault_is_named_with_file_line_and_key(text: str, where: str, what: str) -> None:
    with pytest.raises(JoulebenchError) as caught:
        parse_scenario(text, "x.toml")
    assert where in (caught.value.where or "")
    assert what in caught.value.what
    assert caught.value.exit_code == 2


def test_an_unknown_name_and_a_missing_file_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(JoulebenchError, match="did you mean 'constant'"):
        find_scenario("constnat")
    with pytest.raises(JoulebenchError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")
