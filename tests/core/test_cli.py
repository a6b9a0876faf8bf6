"""The command line: output for people and machines, exit codes, commands of plugins."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import pytest
from toyrun import Bench, until

from joulebench import cli as command_line
from joulebench.errors import NothingRanError, ProfileError
from joulebench.registry.loading import default_registry
from joulebench.session import Session
from joulebench.session.files import SESSION_FILE
from joulebench.session.places import named_place
from joulebench.version import __version__

if TYPE_CHECKING:
    from conftest import Cli, CliHere


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version") == (0, f"joulebench, version {__version__}\n", "")


def test_help_names_every_command(cli: Cli) -> None:
    answer = cli("--help")
    assert answer.code == 0
    for name in ("doctor", "plan", "run", "report", "models", "profiles", "plugin", "session"):
        assert f"\n  {name} " in answer.stdout


def _commands(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words, groups included."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, *names, name)


_ALL: Final = list(_commands(command_line.cli))


def test_the_help_groups_what_starts_what_is_read_and_what_is_kept_up(cli: Cli) -> None:
    text = cli("--help").stdout
    words = ("\nStart:", "  run ", "\nResults:", "  compare ", "\nUpkeep:", "  artifacts ")
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    assert "..." not in text.partition("\n\n")[2], "no line is cut"


def _title(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else ""


@pytest.mark.parametrize(("names", "command"), _ALL, ids=_title)
def test_each_command_has_help_of_lines_that_are_not_cut(names: tuple[str, ...], command: click.Command) -> None:
    context = command_line.cli.make_context("joulebench", [*names, "--help"], resilient_parsing=True)
    text = command.get_help(click.Context(command, info_name=" ".join(names), parent=context))
    assert text.startswith("Usage: joulebench")
    assert command.help
    assert "..." not in text.partition("\n\n")[2]


@pytest.mark.parametrize(
    ("names", "command"),
    [(names, command) for names, command in _ALL if not isinstance(command, click.Group)],
    ids=_title,
)
def test_each_command_has_examples_that_it_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], command: click.Command
) -> None:
    (tmp_path / "sessions" / "one").mkdir(parents=True)
    (tmp_path / "sessions" / "one" / SESSION_FILE).touch()
    monkeypatch.chdir(tmp_path)
    lines = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    assert lines
    for line in lines:
        for part in re.split(r"&&|>|<\(|\)", line):
            words = shlex.split(part, comments=True)
            if words[:1] == ["joulebench"]:
                _understood(words[1:])


def _understood(words: Sequence[str]) -> None:
    """Parse a command line as click does; raises where it is wrong."""
    command: click.Command = command_line.cli
    context = command.make_context("joulebench", list(words))
    while isinstance(command, click.Group):
        _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None
        command = inner
        context = command.make_context(command.name, rest, parent=context)


def test_there_is_one_name_for_where_something_is_written() -> None:
    options = [option for _, command in _ALL for option in command.params if isinstance(option, click.Option)]
    written = {name for option in options if isinstance(option.type, click.Path) for name in option.opts}
    assert written == {"-o", "--output", "--save-baseline", "--resume"}
    assert not {name for option in options for name in option.opts} & {"--out", "--to", "--into"}


def test_without_a_command_the_help_goes_to_standard_error_as_wrong_use(cli: Cli) -> None:
    answer = cli()
    assert answer.code == 2
    assert "Upkeep:" in answer.stderr


def test_a_plan_is_one_json_document_with_a_reason_for_what_is_skipped(cli_here: CliHere, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n'
        "[workload.prefill]\nlength = [8, 100000]\n",
        "utf-8",
    )
    answer = cli_here("plan", "p.toml", "--json", cwd=tmp_path)
    assert (answer.code, answer.stderr) == (0, "")
    plan = json.loads(answer.stdout)
    assert [cell["runnable"] for cell in plan["cells"]] == [True, False]
    assert "context" in plan["cells"][1]["reason"]
    assert plan["maximum_s"] > plan["minimum_s"] > 0


def test_a_plan_for_people_says_what_runs_what_does_not_and_how_long(cli_here: CliHere, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n'
        "[workload.prefill]\nlength = [8, 100000]\n",
        "utf-8",
    )
    out = cli_here("plan", "p.toml", cwd=tmp_path).stdout
    assert "run   torch prefill length=8" in out
    assert "skip  torch prefill length=100000" in out
    assert "1 of 2 cells can run here; at least " in out


def test_a_shipped_profile_can_be_printed_and_used_as_a_file(cli_here: CliHere, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(cli_here("profiles", "show", "quick").stdout, "utf-8")
    answer = cli_here("plan", "mine.toml", "--json", cwd=tmp_path)
    assert len(json.loads(answer.stdout)["cells"]) > 0


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("plugin", "list", "--json"), "plugins"),
        (("models", "list", "--json"), "models"),
        (("models", "show", "shape:tiny-llama", "--json"), "config"),
        (("profiles", "schema"), "properties"),
    ],
)
def test_json_output_is_one_document(cli_here: CliHere, arguments: tuple[str, ...], key: str) -> None:
    answer = cli_here(*arguments)
    assert answer.code == 0
    assert json.loads(answer.stdout)[key]


def test_the_lists_name_what_is_shipped(cli_here: CliHere) -> None:
    assert "torch" in cli_here("plugin", "list").stdout
    assert "smollm2-135m-instruct" in cli_here("models", "list").stdout
    assert "quick" in cli_here("profiles", "list").stdout


def test_fetching_a_shape_names_the_folder_that_was_made(cli_here: CliHere) -> None:
    answer = cli_here("models", "fetch", "shape:tiny-llama#3")
    assert answer.code == 0
    assert json.loads((Path(answer.stdout.strip()) / "seed.json").read_text("utf-8")) == {"seed": 3}


def test_a_reader_that_leaves_gets_no_complaint(cache: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", "profiles", "schema"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.stderr == b""


def _outcome(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> object:
    """The exit code of a command that raises this."""

    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(command_line, "_plugin_commands", lambda: {"failing": failing})
    with pytest.raises(SystemExit) as caught:
        command_line.main(["failing"])
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            ProfileError("is wrong", where="f:1", hint="mend it"),
            2,
            "joulebench: error: f:1: is wrong\n  hint: mend it\n",
        ),
        (NothingRanError("nothing ran"), 1, "joulebench: error: nothing ran\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "joulebench: error: /x: Permission denied\n"),
        (OSError(28, "No space left on device"), 2, "joulebench: error: No space left on device\n"),
        (KeyboardInterrupt(), 130, "joulebench: stopped\n"),
    ],
)
def test_an_error_becomes_words_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    assert _outcome(monkeypatch, error) == code
    assert capsys.readouterr().err.lstrip("\n") == words


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        _outcome(monkeypatch, ZeroDivisionError())


# -- sessions by name, pages, doctor's exit code, threads ------------------------------------------


def test_the_latest_session_is_the_one_written_last(cli: Cli, tmp_path: Path) -> None:
    answer = cli("report", "latest", cwd=tmp_path)
    assert answer.code == 2
    assert "sessions: no session is there" in answer.stderr
    for place, name in enumerate(("b-old", "a-new")):
        folder = tmp_path / "sessions" / name
        folder.mkdir(parents=True)
        (folder / SESSION_FILE).touch()
        os.utime(folder / SESSION_FILE, (place, place))
    answer = cli("report", "latest", cwd=tmp_path)
    assert "a-new" in answer.stderr, "it is the one that cannot be read"


def test_a_folder_that_is_named_latest_is_meant_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latest").mkdir()
    assert named_place("latest") == "latest"


@pytest.mark.parametrize(
    ("switched_off", "require", "code"),
    [
        ((), "any", 0),
        (("rapl", "nvml", "hardware"), "estimated", 0),
        (("rapl", "nvml", "hardware"), "measured", 1),
        (("rapl", "nvml", "hardware", "estimate", "rail"), "any", 1),
    ],
)
def test_doctors_exit_code_is_about_the_energy_that_is_required(
    cli: Cli, switched_off: tuple[str, ...], require: str, code: int
) -> None:
    known = default_registry().names("probe")
    off = [word for name in switched_off if name in known for word in ("--set", f"probe.{name}.enabled=false")]
    answer = cli("doctor", "--json", "--seconds", "0.2", "--require", require, *off)
    assert answer.code == code, answer.stderr
    assert isinstance(json.loads(answer.stdout)["energy_measured"], bool)


def test_threads_beyond_the_cpus_are_warned_of(cli_here: CliHere, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\nthreads = [1, 3000, 4000]\n'
        "[workload.prefill]\nlength = 8\n",
        "utf-8",
    )
    pytest.importorskip("torch")
    out = cli_here("plan", "p.toml", cwd=tmp_path).stdout
    assert "warning: 2 cells have more threads (3000, 4000) than the " in out
    assert "warning" not in cli_here("plan", "p.toml", "--set", "backend.torch.threads=1", cwd=tmp_path).stdout


def test_a_run_can_be_named_and_its_page_opened(cli: Cli, bench: Bench) -> None:
    browser = bench.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {bench.folder}/opened\n', "utf-8")
    browser.chmod(0o755)
    environment = {"BROWSER": f"{browser} %s"}
    done = bench.run(bench.profile({"a": {}}), "--name", "before", "--open", **environment)
    assert done.code == 0, done.errors
    assert done.folder is not None
    assert done.folder.name.endswith("Z-before")
    answer = cli("report", done.folder, "--open", environment=environment)
    assert answer.code == 0, answer.stderr
    assert (bench.folder / "opened").read_text().split() == [(done.folder / "report.html").as_uri()] * 2


@pytest.mark.parametrize("name", ["../up", "a b", ""])
def test_a_name_that_is_no_folder_name_is_refused(cli_here: CliHere, tmp_path: Path, name: str) -> None:
    answer = cli_here("run", "quick", "--name", name, cwd=tmp_path)
    assert answer.code == 2
    assert answer.stderr.count("--name") == 1
    assert not list((tmp_path / "sessions").glob("*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_as_ctrl_c_does(bench: Bench, number: signal.Signals) -> None:
    started = bench.start(bench.profile({"a": {"step_s": 0.02}}, min_blocks=300, max_blocks=300))
    until(lambda: list(started.out.glob("*/cells/*/blocks.arrow*")), "a block")
    code, words = started.end(number)
    folder = started.session_folder()
    assert code == 128 + number
    last = f"stopped by {number.name}; what was measured is kept. Resume with: joulebench run --resume {folder}"
    assert words.splitlines()[-1] == last
    assert Session(folder).row.status == "interrupted"
