"""Reading profiles: sections, chains, overrides, and the shipped ones."""

from __future__ import annotations

import contextlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import JoulebenchError, ProfileError
from joulebench.profile.measurement import MeasurementProtocol, QualityText, SamplingRates
from joulebench.profile.reading import Profile, parse_profile, read_profile
from joulebench.profile.sections import SECTIONS
from joulebench.profile.shellpaths import from_shell
from joulebench.profile.shipped import find_profile, shipped_profiles
from joulebench.registry.loading import default_registry

if TYPE_CHECKING:
    from conftest import CliHere

BASE = "version = 1\n[model.m]\n[backend.b]\n[workload.w]\n"


def parse(text: str, *overrides: str) -> Profile:
    return parse_profile(text, "p.toml", Path("/folder"), overrides)


def test_a_section_that_is_not_written_has_its_defaults() -> None:
    profile = parse(BASE)
    assert profile.measurement.min_blocks == 40
    assert profile.measurement.target == 0.02
    assert profile.measurement.requests_per_block is None


@pytest.mark.parametrize(
    ("section", "values"), [("protocol", MeasurementProtocol), ("sampler", SamplingRates), ("quality", QualityText)]
)
def test_the_typed_values_of_a_section_are_its_options(section: str, values: type) -> None:
    assert [field.name for field in fields(values)] == [option.name for option in SECTIONS[section]]


def test_the_recorded_protocol_has_the_profiles_own_names_and_leaves_out_what_is_unset() -> None:
    recorded = parse(BASE + "[protocol]\nmin_blocks = 7\ntarget = '1%'\n").protocol_json()
    protocol = recorded["protocol"]
    assert isinstance(protocol, dict)
    assert (protocol["min_blocks"], protocol["target"], protocol["block_s"]) == (7, 0.01, 1.0)
    assert not {"preset", "requests_per_block", "passes"} & set(protocol)
    assert recorded["sampler"] == {"calibrate_s": 3.0}


def test_quality_is_judged_only_where_the_profile_asks() -> None:
    assert parse(BASE).quality is None
    assert parse(BASE + "[quality]\n").quality == QualityText("builtin:evaluation", 2048, 256)


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
    by_name = {
        chain.label: [(step.plugin, dict(step.settings)) for step in chain.steps] for chain in profile.techniques
    }
    assert by_name == {
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
        ('[technique.x]\nsteps = [{name = "a"}]\nshare = 1\n', "cannot be combined with"),
        ("[technique.x]\nname = 3\n", "must be text"),
        ("[backend.c]\nplugin = 3\n", "must be text"),
        ("[backend.c]\ndevice = [1]\n", "a device name or a list"),
        ("[include]\nbackend = 'b'\n", r"\[\[include\]\]"),
        ("[protocol]\nmin_blocks = 30\nmax_blocks = 20\n", "more than max_blocks"),
        ("[protocol]\nseed = -1\n", "below the minimum"),
        (f"[protocol]\nseed = {2**63}\n", "above the maximum"),
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


# -- extending a shipped profile ------------------------------------------------------------------

PARENT = """version = 1
name = "parent"
description = "what it does"
[model.big]
[backend.torch]
threads = 2
dtype = "float32"
[backend.other]
[workload.generate]
new_tokens = 24
[protocol]
target = "5%"
min_blocks = 30
[quality]
tokens = 512
[[exclude]]
backend = "other"
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A profile folder with one profile."""
    (tmp_path / "parent.toml").write_text(PARENT, "utf-8")
    return tmp_path


def extending(shelf: Path, text: str = "", *overrides: str) -> Profile:
    return parse_profile(f'version = 1\nextends = "parent"\n{text}', "child.toml", Path(), overrides, [shelf])


def test_a_profile_that_extends_another_has_all_that_it_does_not_say_itself(shelf: Path) -> None:
    base = parse_profile(PARENT, "child.toml", Path(), (), [shelf])
    child = extending(shelf)
    assert (child.name, child.description) == ("child", "")
    assert (child.models, child.backends, child.workloads) == (base.models, base.backends, base.workloads)
    assert (child.measurement, child.quality, child.exclude) == (base.measurement, base.quality, base.exclude)


def test_an_axis_replaces_the_bases_and_keeps_the_settings_of_equal_labels(shelf: Path) -> None:
    child = extending(shelf, '[model.mine]\nsource = "shape:x"\n[backend.torch]\nthreads = 1\n')
    assert [choice.plugin for choice in child.models] == ["shape:x"]
    assert [(choice.label, dict(choice.settings)) for choice in child.backends] == [
        ("torch", {"threads": 1, "dtype": "float32"})
    ]
    assert [choice.label for choice in child.workloads] == ["generate"]


def test_an_inherited_section_can_be_left_out(shelf: Path) -> None:
    assert extending(shelf).quality is not None
    assert extending(shelf, "quality = false\n").quality is None


def test_an_inherited_reference_that_is_lacking_is_an_error_with_the_way_out(cli_here: CliHere, tmp_path: Path) -> None:
    text = 'version = 1\nextends = "quick"\n[model.m]\nsource = "shape:tiny-llama"\n[backend.onnx]\n'
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    answer = cli_here("plan", "mine.toml", cwd=tmp_path)
    assert answer.code == 2
    assert "quick.toml:" in answer.stderr
    assert "agreement = false" in answer.stderr
    (tmp_path / "mine.toml").write_text(text.replace("[model", "agreement = false\n[model", 1), "utf-8")
    assert cli_here("plan", "mine.toml", cwd=tmp_path).code == 0


def test_sections_are_merged_key_by_key_and_overrides_come_last(shelf: Path) -> None:
    child = extending(shelf, '[protocol]\ntarget = "1%"\n', "protocol.min_blocks=20")
    assert (child.measurement.target, child.measurement.min_blocks) == (0.01, 20)


def test_a_fault_is_blamed_on_the_file_that_has_it(shelf: Path) -> None:
    (shelf / "parent.toml").write_text(PARENT.replace("min_blocks = 30", "min_blocks = 0"), "utf-8")
    with pytest.raises(ProfileError, match=r"parent\.toml:13: protocol\.min_blocks"):
        extending(shelf)
    with pytest.raises(ProfileError, match=r"child\.toml:4: protocol\.min_blocks"):
        extending(shelf, "[protocol]\nmin_blocks = 0\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends = 3", "must be the name"),
        ('extends = "parnet"', "did you mean 'parent'"),
        ('extends = "loop"', "extends itself"),
    ],
)
def test_a_base_that_cannot_be_is_an_error_that_says_where(shelf: Path, text: str, words: str) -> None:
    (shelf / "loop.toml").write_text('version = 1\nextends = "loop"\n', "utf-8")
    with pytest.raises(ProfileError, match=words) as caught:
        parse_profile(f"version = 1\n{text}\n", "child.toml", Path(), (), [shelf])
    assert "child.toml:2: extends" in str(caught.value)


def test_what_is_extended_is_not_chosen_by_an_override(shelf: Path) -> None:
    with pytest.raises(ProfileError, match="--set extends"):
        extending(shelf, "", "extends=parent")


# -- overrides: whom an error blames, and where paths start ---------------------------------------


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("protocol.max_blocks=4", "--set protocol.max_blocks: "),
        ("protocol.min_blocks=900", "--set protocol.min_blocks: "),
    ],
)
def test_blocks_that_contradict_are_blamed_on_the_override_with_both_numbers(override: str, where: str) -> None:
    with pytest.raises(ProfileError, match=r"min_blocks = \d+ is more than max_blocks = \d+") as caught:
        parse(BASE + "[protocol]\nmin_blocks = 20\nmax_blocks = 40\n", override)
    assert str(caught.value).startswith(where)


@pytest.mark.parametrize(
    ("override", "moved"),
    [
        ("model.m.source=path:model.gguf", 'model.m.source="path:../shell/model.gguf"'),
        ("model.m.source=shape:mine.json#3", 'model.m.source="shape:../shell/mine.json#3"'),
        ("model.m.source=shape:tiny-llama", None),
        ("model.m.source=path:/models/m", None),
        ("workload.generate.prompts=p.txt", 'workload.generate.prompts="../shell/p.txt"'),
        (
            'workload.any-label.prompts=["builtin:short", "p.txt"]',
            'workload.any-label.prompts=["builtin:short", "../shell/p.txt"]',
        ),
        ("quality.text=t.txt", 'quality.text="../shell/t.txt"'),
        ("quality.text=catalogue:gsm8k", None),
        ('backend.command.command=["./run.sh", "--fast"]', 'backend.command.command=["../shell/run.sh", "--fast"]'),
        ("backend.command.command=program --fast", None),
        ("protocol.target=1%", None),
        ("backend.torch.threads=[1, 2]", None),
        ("not an override", None),
    ],
)
def test_a_path_on_the_command_line_starts_from_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, moved: str | None
) -> None:
    (tmp_path / "shell").mkdir()
    (tmp_path / "profiles").mkdir()
    monkeypatch.chdir(tmp_path / "shell")
    assert from_shell([override], default_registry(), tmp_path / "profiles") == (moved or override,)
