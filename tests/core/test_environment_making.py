"""Environments made for real by venv and pip: what runs in one, and what a failure leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from environment_parts import shouting_site
from toyrun import until

from joulebench.api import Artifact, Environment
from joulebench.environments.store import Environments
from joulebench.models.making import Transform
from joulebench.models.store import Store, hash_content
from joulebench.version import __version__

pytestmark = pytest.mark.slow

Command = Any


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("making")


@pytest.fixture(scope="module")
def command(place: Path) -> Command:
    """``joulebench`` with a plugin that needs an environment, and a cache of its own."""
    site = shouting_site(place)
    environment = {**os.environ, "PYTHONPATH": str(site), "JOULEBENCH_CACHE": str(place / "cache")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "joulebench", *arguments],
            env=environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=400,
        )

    run.environment = environment  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def made(command: Command, place: Path) -> Environments:
    done = command("env", "create", "shouting")
    assert done.returncode == 0, done.stderr
    assert "Collecting" in done.stderr or "Installing" in done.stderr  # it told how far it was
    return Environments(place / "cache")


def row(command: Command) -> dict[str, Any]:
    rows = json.loads(command("env", "list", "--json").stdout)
    (values,) = [row for row in rows if row["name"] == "shouting"]
    return values


def test_what_was_made_has_this_joulebench_the_plugin_and_what_it_needs(made: Environments, command: Command) -> None:
    result = row(command)
    assert (result["ready"], result["needed_by"]) == (True, ["shout"])
    python = made.python_of("shouting").path
    code = "import joulebench, shouter, tinydep, sys; print(joulebench.__version__, sys.prefix)"
    told = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    version, prefix = told.stdout.split()
    assert version == __version__
    assert Path(prefix).parent == made.root


def test_the_technique_runs_in_its_environment_and_its_versions_are_in_the_key(
    made: Environments, place: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    profile = place / "p.toml"
    profile.write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n[workload.generate]\n[technique.shout]\n'
    )
    told = json.loads(command("plan", str(profile), "--json").stdout)
    step = told["cells"][0]["transforms"][-1]
    assert (step["name"], step["python"]) == ("shout", "environment shouting")
    assert step["versions"] == {"tinydep": "1.0", "shouter": "1.0"}  # its library, and its own distribution

    source = place / "source"
    source.mkdir()
    (source / "text").write_text("hello")
    monkeypatch.setenv("PYTHONPATH", "/nowhere/that/leads/it/astray")
    step = Transform("technique", "shout", "hf", {}, {"tinydep": "1.0"}, python=made.python_of("shouting"))
    artifact = Store(place / "store").make(Artifact("hf", source, *hash_content(source)), step)
    assert (artifact.artifact.path / "text").read_text() == "HELLO!"
    assert Path(str(artifact.evidence["prefix"])).parent == made.root


def test_an_environment_that_inherits_has_joulebench_s_packages_behind_its_own(tmp_path: Path) -> None:
    site = shouting_site(tmp_path, inherits=True)
    environ = {**os.environ, "PYTHONPATH": str(site), "JOULEBENCH_CACHE": str(tmp_path / "cache")}

    def created(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "joulebench", "env", "create", "shouting", *arguments]
        return subprocess.run(command, env=environ, text=True, capture_output=True, check=False, timeout=400)

    other = created("--python", sys.executable)
    assert "has the packages of joulebench's own interpreter" in other.stderr
    made = created()
    assert made.returncode == 0, made.stderr
    store = Environments(tmp_path / "cache")
    python = store.python_of("shouting").path
    code = "import joulebench, shouter, tinydep as t; print(*(m.__file__ for m in (t, shouter, joulebench)), sep='\\n')"
    files = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    own, inherited, editable = files.splitlines()
    assert Path(own).is_relative_to(store.root)
    assert Path(inherited).is_relative_to(site)
    assert not Path(editable).is_relative_to(store.root)
    # Another installation of joulebench has other packages.
    needed = Environment("shouting", store.record("shouting").requirements, inherits=True)
    assert store.fault(needed) == "was made for another installation of joulebench"


def test_the_scripts_of_a_finished_environment_work_where_they_are(made: Environments) -> None:
    script = Path(made.python_of("shouting").path).with_name("joulebench")
    told = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert __version__ in told.stdout


@pytest.fixture
def half_made(command: Command, place: Path) -> Environments:
    """A creation that was killed in the middle, in a cache of its own."""
    cache = place / "killed"
    store = Environments(cache)
    started = subprocess.Popen(
        [sys.executable, "-m", "joulebench", "env", "create", "shouting"],
        env={**command.environment, "JOULEBENCH_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: store.folders("shouting"), "a folder")
    os.killpg(started.pid, signal.SIGKILL)
    started.wait(timeout=30)
    return store


def test_a_creation_that_was_killed_leaves_what_is_recognised_and_does_not_count(
    half_made: Environments, command: Command
) -> None:
    environment = {**command.environment, "JOULEBENCH_CACHE": str(half_made.root.parent)}
    listed = subprocess.run(
        [sys.executable, "-m", "joulebench", "env", "list"], env=environment, capture_output=True, text=True, check=True
    )
    assert "is half made" in listed.stdout
    half_made.remove("shouting")
    assert half_made.folders("shouting") == []


def test_pip_s_failure_is_told_and_leaves_only_its_log(tmp_path: Path) -> None:
    site = shouting_site(tmp_path, requirement="tinydep @ file:///no/such/wheel.whl")
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", "env", "create", "shouting"],
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), "JOULEBENCH_CACHE": str(cache)},
        capture_output=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 2
    assert "pip could not install what environment 'shouting' needs" in done.stderr
    assert "Traceback" not in done.stderr
    store = Environments(cache)
    assert store.folders("shouting") == []
    assert (store.root / "shouting.log").read_text()


def test_an_interpreter_that_is_too_old_or_none_is_refused_before_anything_is_made(
    command: Command, place: Path, tmp_path: Path
) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 2.7.18\n")
    old.chmod(0o755)
    for name, words in (
        (str(old), "needs Python 3.11 or newer, and this is 2.7.18"),
        ("/no/such/python", "cannot be run"),
    ):
        done = command("env", "create", "llmcompressor", "--python", name)
        assert done.returncode == 2
        assert words in done.stderr
    assert Environments(place / "cache").folders("llmcompressor") == []
