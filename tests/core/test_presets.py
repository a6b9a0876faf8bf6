"""Published procedures as data: how a profile takes one, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebench.errors import ProfileError
from joulebench.profile.presets import read_preset, shipped_presets
from joulebench.profile.reading import Profile, parse_profile
from joulebench.registry.loading import default_registry

BASE = "version = 1\n[model.m]\n[backend.b]\n[workload.w]\n"
PRESET = "version = 1\n[protocol]\nmin_blocks = 7\nturns = false\n[sampler]\nenergy_hz = 10\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A profile folder with one procedure."""
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "slow.toml").write_text(PRESET)
    return tmp_path


def parse(text: str, folder: Path, *overrides: str) -> Profile:
    return parse_profile(text, "p.toml", Path("/folder"), overrides, [folder])


def test_a_preset_fills_what_the_profile_leaves_open(folder: Path) -> None:
    profile = parse(f'{BASE}[protocol]\npreset = "slow"\nmin_blocks = 9\n', folder)
    assert (profile.measurement.min_blocks, profile.measurement.turns) == (9, False)
    assert profile.sampling.energy_hz == 10.0
    assert profile.measurement.max_blocks == 320


def test_a_protocol_that_is_a_name_is_the_preset_alone(folder: Path) -> None:
    assert parse(f'protocol = "slow"\n{BASE}', folder).measurement.min_blocks == 7


def test_a_command_line_can_ask_for_a_preset_and_change_a_number_of_it(folder: Path) -> None:
    profile = parse(f"{BASE}[protocol]\nmin_blocks = 9\n", folder, "protocol=slow", "protocol.max_blocks=8")
    assert (profile.measurement.min_blocks, profile.measurement.max_blocks) == (7, 8)


def test_the_session_records_the_preset_and_every_number(folder: Path) -> None:
    recorded = parse(f'protocol = "slow"\n{BASE}', folder).protocol_json()
    assert recorded["preset"] == "slow"
    numbers = recorded["protocol"]
    assert isinstance(numbers, dict)
    assert numbers["min_blocks"] == 7
    assert "preset" not in numbers
    assert recorded["sampler"] == {"energy_hz": 10.0, "calibrate_s": 3.0}
    assert parse(BASE, folder).protocol_json()["preset"] is None


def test_an_unknown_preset_is_an_error_with_the_nearest_one(folder: Path) -> None:
    with pytest.raises(ProfileError, match="no protocol is named 'slwo'") as caught:
        parse(f'{BASE}[protocol]\npreset = "slwo"\n', folder)
    assert caught.value.where == "p.toml:6: protocol.preset"
    assert "slow" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "version = 1"),
        ("version = 2\n", "version = 1"),
        ("version = 1\nprotocl = 1\n", "unknown key 'protocl'"),
        ("version = 1\nprotocol = 3\n", "must be a table"),
        ("version = 1\n[protocol]\nmin_block = 3\n", "unknown key 'min_block'"),
        ('version = 1\n[protocol]\npreset = "slow"\n', "unknown key 'preset'"),
        ("version = 1\n[protocol]\nmin_blocks = 0\n", "below the minimum"),
        ("version = 1\n[limits]\nblock_s = 3\n", "unknown key 'limits'"),
        ("version = \n", "not valid TOML"),
    ],
)
def test_a_preset_is_read_strictly(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(ProfileError, match=words):
        read_preset(file)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("counted_before_s = 0.5\nrequests_per_block = 1\n", "more than the margin's 0 s"),
        ("margin_after_s = 1\ncounted_after_s = 2\nrequests_per_block = 1\n", "more than the"),
        ("margin_after_s = 1\ncounted_after_s = 1\n", "belongs to one request"),
        ("margin_before_s = 1\ncounted_before_s = 1\nrequests_per_block = 2\n", "one request"),
        ("margin_before_s = -1\n", "below the minimum"),
    ],
)
def test_margins_that_cannot_be_are_refused(folder: Path, lines: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        parse(f"{BASE}[protocol]\n{lines}", folder)


def test_every_shipped_preset_can_be_read_and_describes_itself() -> None:
    presets = shipped_presets(default_registry().profile_dirs())
    assert "melodi" in presets
    for file in presets.values():
        assert read_preset(file).description
