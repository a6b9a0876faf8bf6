"""What a plugin may do while it is imported without harm to anybody else, and classes that fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matrix_plugins import backend, converter, plugin, technique, workload
from test_registry import install
from toyrun import state_of, until

from joulebench.api import Availability
from joulebench.errors import PluginError
from joulebench.registry.availability import availability_of, devices_of
from joulebench.registry.loading import Registry
from joulebench.worker.process import WorkerProcess


def _loaded(site: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.syspath_prepend(str(site))
    registry = Registry()
    registry.load_entry_points()
    return registry


_ENDLESS = """
import json, signal
from joulebench.registry import loading as registry
registry.IMPORT_LIMIT_S = 3.0
found = registry.default_registry()
errors = {each.entry_point: each.error for each in found.broken}
rest = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL, signal.getitimer(signal.ITIMER_REAL)
print(json.dumps([errors, rest]))
"""


def test_an_import_that_never_ends_is_interrupted_and_named(tmp_path: Path) -> None:
    install(tmp_path, "endless-plugin", "while True: pass")
    # In a process of its own: here pytest's own timer is left alone.
    done = subprocess.run(
        [sys.executable, "-c", _ENDLESS],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    errors, rest = json.loads(done.stdout)
    assert "not done after 3 s (endless_plugin.py:1)" in errors["endless-plugin"]
    assert rest == [True, [0.0, 0.0]]


def test_somebody_else_s_timer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "quick-plugin", "JOULEBENCH_API = 1")
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: rung.append(number))
    try:
        _loaded(tmp_path, monkeypatch)
        signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung == [signal.SIGALRM]


def test_what_a_plugin_prints_while_it_is_imported_is_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "loud-plugin", "print('hello'); JOULEBENCH_API = 1")
    _loaded(tmp_path, monkeypatch)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_ours_come_first_whatever_others_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path,
        "aaa-plugin",
        """
        from joulebench.api import Workload
        from joulebench.hookspecs import hookimpl
        JOULEBENCH_API = 1
        class Mine(Workload):
            name, unit, requires = "idle", "second", frozenset()
            def requests(self, context, settings): return []
            def perform(self, session, request, settings, record): raise NotImplementedError
        @hookimpl
        def joulebench_workloads(): return [Mine]
        """,
    )
    modules = _loaded(tmp_path, monkeypatch)
    assert modules.distribution_of("workload", "idle") == "joulebench"
    (broken,) = [plugin for plugin in modules.broken if plugin.entry_point == "aaa-plugin"]
    assert "'joulebench' (workloads) and 'aaa-plugin' (aaa-plugin)" in broken.error


# -- classes that do not fit ----------------------------------------------------------------------


def _with(made: Any, **attributes: object) -> Any:
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("hook", "made", "words"),
    [
        ("backends", _with(backend("a"), accepts="hf"), "accepts must be a tuple of texts"),
        ("backends", _with(backend("a"), accepts=(1,)), "accepts must be a tuple of texts"),
        ("backends", _with(backend("a"), capabilities="generate"), "capabilities must be a froz"),
        ("backends", _with(backend("a"), options=["threads"]), "options must be a tuple of Opt"),
        ("techniques", _with(technique("t"), accepts=("hf",)), "accepts must be a text"),
        ("converters", _with(converter("c", "hf", "x"), target=None), "target must be a text"),
        ("workloads", _with(workload("w"), requires=["generate"]), "requires must be a frozenset"),
        ("workloads", _with(workload("w"), phases="decode"), "phases must be a tuple of texts"),
    ],
)
def test_a_statement_of_a_wrong_type_is_refused_when_it_is_read(hook: str, made: Any, words: str) -> None:
    with pytest.raises(PluginError, match=f"Made.{words}"):
        Registry().add(plugin(**{hook: [made]}), "x")


def test_a_class_that_cannot_be_made_is_told_by_its_name() -> None:
    class Refusing(backend("a")):  # type: ignore[misc]
        def __init__(self) -> None:
            raise OSError("no dongle")

    registry = Registry()
    registry.add(plugin(backends=[Refusing]), "x", "dist")
    with pytest.raises(PluginError, match="backend 'a' cannot be made: OSError: no dongle"):
        registry.backend("a")


def test_an_answer_of_another_type_counts_as_not_available() -> None:
    made = backend("a")()
    made.available = lambda: True  # type: ignore[method-assign,assignment,return-value]
    assert availability_of(made).reason == "available() gave True, which is no Availability"


def test_devices_that_are_none_cost_that_backend_alone() -> None:
    made = backend("a")()
    made.devices = lambda: ("cpu",)  # type: ignore[method-assign,assignment,return-value]
    said, names = devices_of(made)
    assert not said.ok
    assert "devices() failed: AttributeError" in (said.reason or "")
    assert names == []
    works = SimpleNamespace(available=Availability.yes, devices=lambda: ())
    assert devices_of(works) == (Availability.yes(), [])  # type: ignore[arg-type]


# -- what a worker has started --------------------------------------------------------------------

_STARTS_A_CHILD = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
for line in sys.stdin: print(json.dumps({"child": child.pid}), flush=True)
"""


@pytest.fixture
def family() -> Any:
    """A worker and the process that it has started."""
    worker = WorkerProcess({}, command=[sys.executable, "-c", _STARTS_A_CHILD])
    child = int(worker.ask({"op": "who"}, 20)["child"])
    yield worker, child
    worker.kill()
    worker.close()


def test_what_a_worker_has_started_is_stopped_and_goes_on_with_it(family: Any) -> None:
    worker, child = family
    worker.pause()
    assert until(lambda: state_of(child) == "T", "the child to stop")
    worker.resume()
    assert until(lambda: state_of(child) in ("S", "R"), "the child to go on")


def test_what_a_worker_has_started_dies_with_it(family: Any) -> None:
    worker, child = family
    worker.kill()
    assert until(lambda: state_of(child) is None, "the child to end")


FATAL = {
    "exits": "import os\nos._exit(0)\n",
    "crashes": "import ctypes\nctypes.string_at(0)\n",
    "is ended": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "exits in a hook": (
        "import os\nfrom joulebench.hookspecs import hookimpl\nJOULEBENCH_API = 1\n"
        "@hookimpl\ndef joulebench_backends():\n    os._exit(0)\n"
    ),
}


@pytest.mark.parametrize("code", FATAL.values(), ids=FATAL)
def test_a_plugin_that_ends_the_process_is_named_and_everything_else_works(tmp_path: Path, code: str) -> None:
    install(tmp_path, "fatal-plugin", code)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "JOULEBENCH_CACHE": str(tmp_path / "cache")}
    for _ in range(2):  # the second one remembers
        command = [sys.executable, "-m", "joulebench", "plugin", "list"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0
        assert "its import ends the process" in done.stdout
        assert "onnx" in done.stdout
    (tmp_path / "fatal_plugin.py").write_text("JOULEBENCH_API = 1  # mended\n", "utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "its import ends the process" not in done.stdout


def test_a_list_of_entry_points_that_is_no_text_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "good-plugin", "JOULEBENCH_API = 1")
    info = tmp_path / "strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_bytes(b"[console_scripts]\n\xff\xfe = a:b\n")
    registry = _loaded(tmp_path, monkeypatch)
    assert "good-plugin" in [plugin.entry_point for plugin in registry.loaded]
    assert any("strange" in plugin.distribution for plugin in registry.broken)
