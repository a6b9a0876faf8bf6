"""Profiles and models that would hang a plan, end it with a traceback, or execute something unasked."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from matrix_plugins import backend, plan_of, registry_of

from joulebench.api import Option
from joulebench.checkpoint import inspect_checkpoint
from joulebench.errors import ModelError, ProfileError
from joulebench.models.catalogue import Catalogue, resolve_model
from joulebench.plan.consent import programs_of, require_consent
from joulebench.profile.position import line_of
from joulebench.profile.reading import parse_profile, read_profile
from joulebench.runs.folder import in_session, is_own_profile

A = backend("a")
NOTHING = Catalogue({}, {}, {})

pytestmark = pytest.mark.timeout(30)


class Running(backend("running")):  # type: ignore[misc]
    options = (Option("command", "command", None, ""),)


PROGRAM = 'version = 1\n[model.m]\nsource = "shape:tiny"\n[backend.running]\ncommand = ["./w", "-x"]\n[workload.work]\n'


@pytest.mark.parametrize("line", ["[" + " " * 200_000, "[ a" + " \t" * 100_000 + "b", '"' * 200_000, "a" * 200_000])
def test_a_line_of_a_profile_is_read_once_whatever_it_holds(line: str) -> None:
    assert line_of(f"{line}\nseed = 1", ("seed",)) == 2


def test_an_axis_of_many_values_is_refused_with_its_place() -> None:
    values = ", ".join(map(str, range(1, 40_001)))
    with pytest.raises(ProfileError, match=r"workload\.work\.length: has 40,000 values; at most 1,000"):
        plan_of(f"[backend.a]\n[workload.work]\nlength = [{values}]\n", A)


def test_a_matrix_that_nobody_could_run_is_refused_before_it_is_made() -> None:
    options = tuple(Option(f"axis{number}", "int", None, "") for number in range(6))
    wide = backend("wide")
    wide.options = options
    axes = "".join(f"{option.name} = {list(range(100))}\n" for option in options)
    with pytest.raises(ProfileError, match=r"asks for 1,000,000,000,000 combinations; at most 10,000"):
        plan_of(f"[backend.wide]\n{axes}[workload.work]\n", wide)
    threads = f"threads = {list(range(1, 201))}\n"
    with pytest.raises(ProfileError, match="asks for 20,000 combinations"):
        plan_of(f"[backend.a]\n{threads}[workload.work]\nlength = {list(range(20, 120))}\n", A)


@pytest.mark.parametrize("seed", ["9" * 5000, "²", "-1", ""])
def test_a_seed_of_a_shape_that_is_no_number_is_a_plain_error(seed: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="whole number"):
        resolve_model(f"shape:tiny#{seed}", NOTHING, tmp_path)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000, "{a=" * 100_000])
def test_toml_that_python_cannot_read_is_a_plain_error(value: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="not valid TOML"):
        parse_profile(f"version = {value}", "p.toml", tmp_path)
    with pytest.raises(ProfileError):
        parse_profile(PROGRAM, "p.toml", tmp_path, [f"protocol.seed={value}"])


def test_pipes_in_place_of_files_are_refused_unread(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    folder = tmp_path / "model"
    folder.mkdir()
    os.mkfifo(folder / "config.json")
    with pytest.raises(ModelError, match=r"config\.json: is a pipe"):
        inspect_checkpoint(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors: is a pipe"):
        inspect_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert inspect_checkpoint(folder).parameters == 2


def test_a_pipe_as_a_text_or_a_profile_is_refused_unread(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ProfileError, match="is a pipe"):
        plan_of(f'[backend.a]\n[workload.work]\ntext = "{pipe}"\n', A)
    with pytest.raises(ProfileError, match="is a pipe"):
        read_profile(pipe)


def test_what_a_profile_executes_is_listed() -> None:
    text = PROGRAM.replace("[workload", '[backend.a]\npython = "venv/bin/python"\n[workload')
    profile = parse_profile(text, "p.toml", Path("/"))
    programs = programs_of(profile, registry_of(A, Running))
    assert [(program.key, program.words) for program in programs] == [
        ("backend.running.command", "./w -x"),
        ("backend.a.python", "venv/bin/python"),
    ]


def test_a_profile_of_a_session_executes_nothing_without_consent() -> None:
    registry = registry_of(A, Running)
    with pytest.raises(ProfileError, match=r"would execute \./w -x \(backend\.running\.command\)") as refusal:
        require_consent(parse_profile(PROGRAM, "p.toml", Path("/")), registry)
    assert "--trust" in (refusal.value.hint or "")
    harmless = PROGRAM.replace('command = ["./w", "-x"]\n', "")
    require_consent(parse_profile(harmless, "p.toml", Path("/")), registry)


def test_a_profile_is_the_users_own_where_its_file_says_the_same_outside_of_sessions(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(PROGRAM, encoding="utf-8")
    session = tmp_path / "session"
    (session / "below").mkdir(parents=True)
    (session / "session.arrow").touch()
    inside = session / "below" / "p.toml"
    inside.write_text(PROGRAM, encoding="utf-8")
    assert is_own_profile(own, PROGRAM)
    assert not is_own_profile(own, PROGRAM + "# changed")
    assert not is_own_profile(inside, PROGRAM)
    assert not is_own_profile(None, PROGRAM)
    assert (in_session(inside), in_session(own)) == (True, False)
