"""What a user gets for a mistake: exit code 2, one plain error that names what, where and a cure.

Each test goes through the command line; in a process of its own where rights and environment are the subject.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Answer, Cli, CliHere

BASE = """\
version = 1
[model.m]
source = "shape:tiny-llama"
[backend.torch]
[workload.generate]
"""


def assert_one_plain_error(answer: Answer, *words: str) -> None:
    """Exit code 2; nothing on standard output; one error, and at most one hint, in words."""
    assert answer.code == 2, answer
    assert answer.stdout == ""
    first, *rest = answer.stderr.splitlines()
    assert first.startswith("joulebench: error: ")
    assert len(rest) <= 1
    assert all(line.startswith("  hint: ") for line in rest)
    assert "Traceback" not in answer.stderr
    for word in words:
        assert word in answer.stderr


@pytest.fixture
def refused(cli_here: CliHere, tmp_path: Path):
    """Asserts that ``plan`` refuses this profile with these words."""

    def check(text: str, *words: str, arguments: tuple[str, ...] = ()) -> None:
        (tmp_path / "p.toml").write_text(text, encoding="utf-8")
        assert_one_plain_error(cli_here("plan", "p.toml", *arguments, cwd=tmp_path), *words)

    return check


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("verson = 1\n", ("p.toml:1: verson", "did you mean 'version'")),
        (f"{BASE}[protocol]\nprocesess = 3\n", ("p.toml:7: protocol.procesess", "did you mean 'processes'")),
        (
            BASE.replace("[workload", "dtpye = 'x'\n[workload"),
            ("p.toml:5: backend.torch.dtpye", "did you mean 'dtype'"),
        ),
        (f"{BASE}new_token = 3\n", ("p.toml:6: workload.generate.new_token", "did you mean 'new_tokens'")),
        (f"{BASE}[probe.rapl]\nrooot = 'x'\n", ("p.toml:7: probe.rapl.rooot", "did you mean 'root'")),
        (BASE.replace("source", "sorce"), ("p.toml:3: model.m.sorce", "did you mean 'source'")),
        (f"{BASE}[[include]]\nbakend = 'torch'\n", ("p.toml:7: include.bakend", "did you mean 'backend'")),
        (f"{BASE}[[exclude]]\nbackend = 'torch'\n", ("p.toml: include and exclude leave no cell",)),
        (f"{BASE}new_tokens = -1\n", ("p.toml:6: workload.generate.new_tokens: -1 is below",)),
        (f"{BASE}new_tokens = 'x'\n", ("p.toml:6:", "must be a whole number, not 'x'")),
        (f"{BASE}new_tokens = []\n", ("p.toml:6:", "is an empty list")),
        (f"{BASE}[protocol]\nblock_s = nan\n", ("p.toml:7: protocol.block_s: must be a number",)),
        (f"{BASE}[protocol]\nprocesses = [1, 2]\n", ("p.toml:7:", "must be a whole number")),
        ("version = 9\n", ("p.toml:1: version", "reads version 1")),
        ("version = 'x\n", ("p.toml: not valid TOML",)),
        ("model = 3\nversion = 1\n", ("p.toml:1: model: must be a table", "[model]")),
        (BASE.replace("torch", "troch"), ("p.toml:4: backend.troch: unknown backend 'troch'", "did you mean 'torch'")),
        (BASE.replace("generate", "genrate"), ("p.toml:5: workload.genrate", "'generate'")),
        (f"{BASE}[technique.prunne]\n", ("p.toml:6: technique.prunne: unknown technique",)),
        (f"{BASE}[probe.rapll]\n", ("p.toml:6: probe.rapll: unknown probe", "'rapl'")),
        (
            BASE.replace("shape:tiny-llama", "smollm2-135m-instrct"),
            ("p.toml:3: model.m.source: unknown model", "did you mean 'smollm2-135m-instruct'"),
        ),
        (
            BASE.replace("shape:tiny-llama", "shape:tiny-lama"),
            ("p.toml:3: model.m.source: unknown shape", "did you mean 'tiny-llama'"),
        ),
        (BASE.replace("shape:", "s3:"), ("p.toml:3:", "unknown kind of model 's3:'", "path:DIR")),
        (BASE.replace("shape:tiny-llama", "hf:org/name"), ("p.toml:3:", "pin the revision")),
        (BASE.replace("shape:tiny-llama", "hf:a/b@../../up"), ("p.toml:3:", "must be hf:ORG")),
        (BASE.replace("shape:tiny-llama", "shape:tiny-llama#x"), ("p.toml:3:", "whole number")),
        (f"{BASE}prompts = 'absent.txt'\n", ("p.toml:6: workload.generate.prompts: cannot read", "No such file")),
        (f"{BASE}prompts = '/'\n", ("p.toml:6:", "Is a directory")),
        (f"{BASE}prompts = 'builtin:shrt'\n", ("p.toml:6:", "did you mean 'short'")),
        (f"{BASE}[quality]\ntext = 'catalogue:boolq'\n", ("p.toml:7: quality.text: no text",)),
    ],
)
def test_a_fault_in_a_profile_is_named_with_its_line(refused, text: str, words) -> None:
    refused(text, *words)


@pytest.mark.parametrize("override", ["foo", "protocol.=3", "version.x=3", "a=1\nb=2"])
def test_a_malformed_override_is_refused(refused, override: str) -> None:
    refused(BASE, "--set", arguments=("--set", override))


def test_an_override_of_a_wrong_type_is_blamed_itself(refused) -> None:
    refused(BASE, "--set protocol.seed: must be a whole number", "'x'", arguments=("--set", "protocol.seed=x"))


def test_a_backend_that_nothing_provides_is_refused_with_what_others_lack(cli: Cli, tmp_path: Path) -> None:
    # A finder that hides torch from this process stands for an installation without it.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nreal = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a)\n",
        encoding="utf-8",
    )
    (tmp_path / "p.toml").write_text(BASE.replace("backend.torch", "backend.onnxx"), "utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    answer = cli("plan", "p.toml", cwd=tmp_path, environment={"PYTHONPATH": path})
    assert_one_plain_error(answer, "unknown backend 'onnxx'", "valid: ", "torch needs: pip install 'joulebench[torch]'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan",), ("missing argument 'PROFILE'", "joulebench plan --help")),
        (("plan", "quick", "lab"), ("unexpected extra argument", "lab")),
        (("plan", "qick"), ("unknown profile 'qick'", "did you mean 'quick'")),
        (("plan", "absent.toml"), ("absent.toml: no such profile file",)),
        (("rnu", "quick"), ("no such command 'rnu'", "did you mean 'run'")),
        (("models", "show", "smolm"), ("unknown model 'smolm'",)),
        (("profiles", "show", "lb"), ("unknown profile 'lb'", "lab")),
        (("run",), ("give either a PROFILE or --resume",)),
        (("report", "absent"), ("absent: no such folder",)),
        (("report", ".", "--format", "htm"), ("unknown renderer 'htm'", "did you mean 'html'")),
        (("report", ".", "--option", "x"), ("'x' is not KEY=VALUE",)),
        (("report", ".", "--option", "x=1"), ("--option x: unknown key",)),
        (("session", "verify", "."), ("this is not a joulebench session",)),
        (("session", "recover", "absent"), ("no such folder",)),
        (("doctor", "--seconds", "-1"), ("-1",)),
    ],
)
def test_a_fault_on_the_command_line_is_named_with_a_cure(
    cli_here: CliHere, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert_one_plain_error(cli_here(*arguments, cwd=tmp_path), *words)


# -- checkpoints --------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with a config and one whole safetensors file."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}', "utf-8")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return folder


PATH_MODEL = BASE.replace("shape:tiny-llama", "path:model")
PLACE = "p.toml:3: model.m.source: "


def test_a_whole_checkpoint_is_planned(cli_here: CliHere, checkpoint: Path) -> None:
    (checkpoint.parent / "p.toml").write_text(PATH_MODEL, "utf-8")
    answer = cli_here("plan", "p.toml", cwd=checkpoint.parent)
    assert (answer.code, answer.stderr) == (0, "")
    assert "1 of 1 cells can run here" in answer.stdout


def test_a_folder_that_is_not_there_is_refused(refused) -> None:
    refused(PATH_MODEL, PLACE, "no such folder")


def test_a_folder_without_weights_is_refused(refused, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    refused(PATH_MODEL, PLACE, "has no weights", "copy the model's .safetensors")


def test_truncated_weights_are_refused(refused, checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    refused(PATH_MODEL, PLACE, "model.safetensors: is truncated", "copy the file again")


def test_pickled_weights_are_refused_and_not_read(refused, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    refused(PATH_MODEL, PLACE, "pickled weights (pytorch_model.bin)", "save_pretrained")


def test_a_checkpoint_that_brings_code_is_refused(refused, checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}', "utf-8")
    refused(PATH_MODEL, PLACE, "auto_map", "remote code is never run")


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "", ".."])
def test_an_index_that_leads_out_of_the_folder_is_refused(refused, checkpoint: Path, name: str) -> None:
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}), "utf-8")
    refused(PATH_MODEL, PLACE, "names a file outside the folder")


# -- what the system refuses --------------------------------------------------------------------


def test_prompts_that_may_not_be_read_are_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("hello\n", "utf-8")
    (tmp_path / "prompts.txt").chmod(0)
    (tmp_path / "p.toml").write_text(f"{BASE}prompts = 'prompts.txt'\n", "utf-8")
    answer = cli("plan", "p.toml", cwd=tmp_path, privileged=False)
    assert_one_plain_error(answer, "p.toml:6: workload.generate.prompts", "Permission denied")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", ""])
def test_a_checkpoint_that_may_not_be_read_is_named(cli: Cli, checkpoint: Path, name: str) -> None:
    (checkpoint / name).chmod(0)
    (checkpoint.parent / "p.toml").write_text(PATH_MODEL, "utf-8")
    answer = cli("plan", "p.toml", cwd=checkpoint.parent, privileged=False)
    (checkpoint / name).chmod(0o700)
    assert_one_plain_error(answer, PLACE, str(checkpoint / name), "Permission denied")


def test_a_cache_that_may_not_be_written_is_named(cli: Cli, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    answer = cli(
        "models",
        "fetch",
        "shape:tiny-llama",
        cwd=tmp_path,
        privileged=False,
        environment={"JOULEBENCH_CACHE": str(tmp_path / "cache")},
    )
    assert_one_plain_error(answer, str(tmp_path / "cache"), "Permission denied")


def test_a_file_where_the_sessions_should_go_is_refused(cli_here: CliHere, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", "utf-8")
    (tmp_path / "p.toml").write_text(BASE, "utf-8")
    answer = cli_here("run", "p.toml", "--output", "out", cwd=tmp_path)
    assert_one_plain_error(answer, "out: cannot be written", "choose another --output")


def test_a_profile_in_a_session_executes_nothing_without_trust(cli: Cli, tmp_path: Path) -> None:
    program = tmp_path / "w"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "session.arrow").touch()
    backend = '[backend.command]\ncommand = ["./w"]'
    text = f'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n{backend}\n[workload.generate]\n'
    (tmp_path / "p.toml").write_text(text, encoding="utf-8")
    for command in ("plan", "run"):
        assert_one_plain_error(cli(command, "p.toml", cwd=tmp_path), "would execute ./w", "--trust")
    assert not (tmp_path / "executed").exists()
    answer = cli("plan", "p.toml", "--trust", cwd=tmp_path)
    assert "executes ./w  (backend.command.command)" in answer.stdout
    assert (tmp_path / "executed").exists()
