"""Reading profiles: sections, chains, overrides, and the shipped ones."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import JoulebenchError, ProfileError
from joulebench.profile.reading import Profile, parse_profile, read_profile
from joulebench.profile.shipped import find_profile, shipped_profiles
from joulebench.registry.loading import default_registry

BASE = "version = 1\n[model.m]\n[backend.b]\n[workload.w]\n"


def parse(text: str, *overrides: str) -> Profile:
    return parse_profile(text, "p.toml", Path("/folder"), overrides)


def test_a_section_that_is_not_written_has_its_defaults() -> None:
    profile = parse(BASE)
    assert profile.protocol["min_blocks"] == 40
    assert profile.protocol["target"] == 0.02
    assert "requests_per_block" not in profile.protocol


def test_quality_is_judged_only_where_the_profile_asks() -> None:
    assert parse(BASE).quality is None
    assert parse(BASE + "[quality]\n").quality == {"text": "builtin:evaluation", "tokens": 2048, "window": 512}


def test_the_name_is_the_files_unless_it_is_given() -> None:
    assert parse(BASE).name == "p"
    assert parse(f'name = "mine"\n{BASE}').name == "mine"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a\\u0000b"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="folder's name"):
        parse(f'name = "{name}"\n{BASE}')


def test_techniques_are_none_unless_they_are_named() -> None:
    assert [(chain.label, chain.steps) for chain in parse(BASE).techniques] == [("none", ())]


def test_a_technique_is_a_chain_of_one_step_or_of_several() -> None:
    profile = parse(
        BASE + '[technique.none]\n[technique.prune]\nshare = 0.5\n[technique.half]\nname = "prune"\n'
        '[technique.both]\nsteps = [{name = "prune", share = 0.1}, {name = "pack"}]\n'
    )
    found = {chain.label: [(step.plugin, dict(step.settings)) for step in chain.steps] for chain in profile.techniques}
    assert found == {
        "none": [],
        "prune": [("prune", {"share": 0.5})],
        "half": [("prune", {})],
        "both": [("prune", {"share": 0.1}), ("pack", {})],
    }


@pytest.mark.parametrize(
    ("addition", "words"),
    [
        ("[technique.x]\nsteps = 3\n", "list of tables"),
        ("[technique.x]\nsteps = [{share = 1}]\n", "list of tables"),
        ('[technique.x]\nsteps = [{name = "a"}]\nshare = 1\n', "cannot stand beside"),
        ("[technique.x]\nname = 3\n", "must be text"),
        ("[backend.c]\nplugin = 3\n", "must be text"),
        ("[backend.c]\ndevice = [1]\n", "a device name or a list"),
        ("[include]\nbackend = 'b'\n", r"\[\[include\]\]"),
        ("[protocol]\nmin_blocks = 30\nmax_blocks = 20\n", "more than max_blocks"),
        ("[protocol]\nseed = -1\n", "below the least"),
        (f"[protocol]\nseed = {2**63}\n", "above the most"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(addition: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words) as caught:
        parse(BASE + addition)
    assert (caught.value.where or "").startswith(("p.toml:5", "p.toml:6", "p.toml:7"))


@pytest.mark.parametrize("version", ["2", "0", "true", '"1"', "1.5"])
def test_only_the_version_that_is_known_is_read(version: str) -> None:
    with pytest.raises(ProfileError, match="this joulebench reads version 1"):
        parse(BASE.replace("version = 1", f"version = {version}"))


@pytest.mark.parametrize("lacking", ["backend", "workload"])
def test_a_profile_without_an_axis_says_which_table_to_add(lacking: str) -> None:
    text = BASE.replace(f"[{lacking}.{lacking[0]}]\n", "")
    with pytest.raises(ProfileError, match=rf"\[{lacking}.NAME\]"):
        parse(text)


# -- overrides ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("backend.b.x=3", 3),
        ("backend.b.x=[1, 2]", [1, 2]),
        ('backend.b.x="3"', "3"),
        ("backend.b.x = bare word", "bare word"),
        ("backend.b.x=true", True),
    ],
)
def test_an_override_is_toml_and_a_bare_word_is_text(override: str, value: object) -> None:
    assert parse(BASE, override).backends[0].settings["x"] == value


def test_an_override_may_add_a_table() -> None:
    profile = parse(BASE, "backend.new.threads=2")
    assert [choice.label for choice in profile.backends] == ["b", "new"]


@pytest.mark.parametrize("override", ["", "x", "=3", ".a=3", "a..b=3", "version.x=3", "protocol.seed=1\nmax_blocks=3"])
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse(BASE, override)
    assert caught.value.where == "--set"


def test_a_bad_value_of_an_override_is_blamed_on_it_and_not_on_the_file() -> None:
    with pytest.raises(ProfileError) as caught:
        parse(BASE + "[protocol]\nseed = 3\n", "protocol.seed=x")
    assert caught.value.where == "--set protocol.seed"


# -- files --------------------------------------------------------------------------------------


def test_a_name_finds_a_shipped_profile_and_a_path_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(BASE, encoding="utf-8")
    assert find_profile("mine", [tmp_path]) == file
    assert find_profile(str(file), []) == file
    with pytest.raises(ProfileError, match="did you mean 'mine'"):
        find_profile("mien", [tmp_path])


def test_of_two_folders_with_one_name_the_first_wins(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.toml").write_text(BASE, encoding="utf-8")
    folders = [tmp_path / "first", tmp_path / "second"]
    assert shipped_profiles(folders) == {"same": tmp_path / "first" / "same.toml"}


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(ProfileError, match="not UTF-8"):
        read_profile(file)


def test_every_shipped_profile_is_read() -> None:
    folders = default_registry().profile_dirs()
    shipped = shipped_profiles(folders)
    assert {read_profile(file, (), folders).name for file in shipped.values()} == set(shipped)
    assert "quick" in shipped


@given(st.text(max_size=200) | st.from_regex(r"(version = 1\n)?(\[[a-z.\"]+\]\n[a-z]+ = .{1,5}\n)*"))
def test_any_text_gives_a_profile_or_an_error_for_the_user(text: str) -> None:
    with contextlib.suppress(JoulebenchError):  # anything else fails the test
        parse(text)
