"""The registry: what it refuses, and that a broken plugin costs nobody else anything."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import pytest
from matrix_plugins import backend, plugin, technique, workload

import joulebench
from joulebench.api import Availability, Backend, FinishedCell
from joulebench.errors import PluginError, UnknownPluginError
from joulebench.hookspecs import hookimpl
from joulebench.registry.availability import availability_of
from joulebench.registry.loading import Registry, default_registry

if TYPE_CHECKING:
    from conftest import Cli


def registry_with(made: object, entry_point: str = "x", distribution: str = "dist") -> Registry:
    registry = Registry()
    registry.add(made, entry_point, distribution, "1.0")
    return registry


def test_what_a_plugin_provides_is_found_by_kind_and_name() -> None:
    registry = registry_with(plugin(backends=[backend("a")], techniques=[technique("t")]))
    assert registry.backend("a").name == "a"
    assert registry.names("technique") == ["t"]
    assert registry.distribution_of("backend", "a") == "dist"
    assert registry.loaded[0].provides == (("backend", "a"), ("technique", "t"))


@pytest.mark.parametrize(
    ("stated", "words"), [(2, "written for plugin API 2"), (None, "does not state"), ("1", "API 1")]
)
def test_another_api_version_is_refused(stated: object, words: str) -> None:
    made = plugin(backends=[backend("a")])
    made.JOULEBENCH_API = stated
    with pytest.raises(PluginError, match=words) as caught:
        registry_with(made)
    assert caught.value.hint == "set JOULEBENCH_API = 1 in the module after checking its hooks"


def test_a_second_plugin_of_one_name_is_refused_and_both_distributions_are_named() -> None:
    registry = registry_with(plugin(backends=[backend("a")]), "first", "dist-one")
    with pytest.raises(PluginError) as caught:
        registry.add(plugin(backends=[backend("b"), backend("a")]), "second", "dist-two")
    assert "'dist-one' (first)" in str(caught.value)
    assert "'dist-two' (second)" in str(caught.value)
    assert registry.names("backend") == ["a"], "nothing of the refused plugin is left"


def test_one_plugin_cannot_provide_a_name_twice() -> None:
    with pytest.raises(PluginError, match="provides backend 'a' twice"):
        registry_with(plugin(backends=[backend("a"), backend("a")]))


def test_one_name_may_stand_for_a_backend_and_a_workload() -> None:
    registry = registry_with(plugin(backends=[backend("a")], workloads=[workload("a")]))
    assert registry.backend("a").name == registry.workload("a").name


class Abstract(Backend):
    name = "abstract"
    accepts = ("hf",)
    capabilities = frozenset()


def _named(name: object) -> type[Backend]:
    made: Any = backend("a")
    made.name = name
    return made


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (backend("a"), "must return a list"),
        (None, "must return a list"),
        ([backend("a")()], "which is no Backend class"),
        ([workload("w")], "which is no Backend class"),
        (["a"], "which is no Backend class"),
        ([Abstract], "Abstract does not implement: devices, open"),
        ([_named("a b")], "name must be a word"),
        ([_named("")], "name must be a word"),
        ([_named(None)], "name must be a word"),
    ],
)
def test_a_hook_that_returns_something_else_is_refused(returned: object, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        registry_with(plugin(backends=lambda: returned))


def test_a_misspelt_hook_is_refused() -> None:
    with pytest.raises(PluginError, match="joulebench_backend"):
        registry_with(plugin(backend=[backend("a")]))


def test_an_unknown_name_is_answered_with_the_nearest_and_what_others_need() -> None:
    missing = Availability.no("not installed: z", "pip install 'dist[z]'")
    registry = registry_with(plugin(backends=[backend("torchy"), backend("z", missing=missing)]))
    with pytest.raises(UnknownPluginError) as caught:
        registry.backend("torchi")
    assert caught.value.hint == ("did you mean 'torchy'? valid: torchy, z; z needs: pip install 'dist[z]'")


def test_a_plugin_that_raises_when_asked_whether_it_works_does_not() -> None:
    class Raising(backend("a")):  # type: ignore[misc]
        def available(self) -> Availability:
            raise OSError("no driver")

    answer = availability_of(Raising())
    assert not answer.ok
    assert "OSError: no driver (test_registry.py:" in (answer.reason or "")


# -- hooks that return something else than classes ----------------------------------------------


def test_a_failing_hook_is_listed_and_the_other_plugins_hooks_still_count(tmp_path: Path) -> None:
    def fail() -> list[Path]:
        raise ZeroDivisionError("oh")

    registry = registry_with(plugin(profile_dirs=fail), "bad", "bad-dist")
    registry.add(plugin(profile_dirs=[tmp_path]), "good")
    assert registry.profile_dirs() == registry.profile_dirs() == [tmp_path]
    (broken,) = registry.broken
    assert (broken.entry_point, broken.distribution) == ("bad", "bad-dist")
    assert "ZeroDivisionError: oh" in broken.error


def test_of_two_plugins_commands_with_one_name_the_first_is_kept_and_the_other_listed() -> None:
    first, second = click.Command("first"), click.Command("second")
    registry = registry_with(plugin(commands=lambda: {"go": first}), "a")
    registry.add(plugin(commands=lambda: {"go": second}), "b")
    assert registry.commands() == {"go": first}
    assert "already adds the command 'go'" in registry.broken[0].error


def test_an_observer_that_raises_is_reported_and_the_others_are_told() -> None:
    told: list[str] = []

    def observer(action: Any) -> SimpleNamespace:
        return SimpleNamespace(JOULEBENCH_API=1, joulebench_cell_finished=hookimpl(action))

    def bad(cell: FinishedCell) -> None:
        raise ValueError("no")

    def good(cell: FinishedCell) -> None:
        told.append(cell.cell_id)

    registry = registry_with(observer(good), "good")
    registry.add(observer(bad), "bad")
    reports: list[str] = []
    registry.cell_finished(FinishedCell(Path("/s"), "c1", "ok", None), reports.append)
    assert told == ["c1"]
    assert len(reports) == 1
    assert reports[0].startswith("observer bad: ValueError: no")


# -- installed distributions --------------------------------------------------------------------


def install(site: Path, name: str, source: str) -> None:
    """A distribution with one entry point, as an installer leaves it."""
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(textwrap.dedent(source), "utf-8")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[joulebench]\n{name} = {module}\n", "utf-8")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import absent_module", "No module named 'absent_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("JOULEBENCH_API = 99", "written for plugin API 99"),
        ("x = 1", "does not state the plugin API"),
        (
            """
         from joulebench.hookspecs import hookimpl
         JOULEBENCH_API = 1
         @hookimpl
         def joulebench_backends():
             import absent_module
         """,
            "No module named 'absent_module'",
        ),
    ],
)
def test_a_broken_distribution_is_listed_with_its_error_and_all_else_works(
    cli: Cli, tmp_path: Path, source: str, words: str
) -> None:
    install(tmp_path, "acme-plugin", source)
    answer = cli("plugin", "list", environment={"PYTHONPATH": str(tmp_path)})
    assert answer.code == 0
    (broken,) = [line for line in answer.stdout.splitlines() if line.startswith("broken ")]
    assert "acme-plugin (from acme-plugin)" in broken
    assert words in answer.stdout
    assert "torch" in answer.stdout
    assert answer.stderr == ""


def test_a_name_that_is_taken_is_listed_with_both_distributions(cli: Cli, tmp_path: Path) -> None:
    install(
        tmp_path,
        "zz-plugin",
        """
        from joulebench.api import Backend
        from joulebench.hookspecs import hookimpl
        JOULEBENCH_API = 1
        class Other(Backend):
            name, accepts, capabilities = "torch", ("hf",), frozenset()
            def devices(self): return ()
            def open(self, artifact, device, settings): raise NotImplementedError
        @hookimpl
        def joulebench_backends(): return [Other]
        """,
    )
    out = cli("plugin", "list", environment={"PYTHONPATH": str(tmp_path)}).stdout
    assert "backend 'torch' is provided by both 'joulebench' (torch) and 'zz-plugin'" in out


def test_a_strangers_command_is_in_the_help_and_can_be_called(cli: Cli, tmp_path: Path) -> None:
    install(
        tmp_path,
        "acme-plugin",
        """
        import click
        from joulebench.hookspecs import hookimpl
        JOULEBENCH_API = 1
        @click.command(help="Says hello.")
        def hello(): click.echo("hello")
        @hookimpl
        def joulebench_commands(): return {"hello": hello}
        """,
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    shown = cli("--help", environment=environment).stdout
    assert ["hello", "Says", "hello"] in [line.split() for line in shown.splitlines()]
    assert cli("hello", environment=environment) == (0, "hello\n", "")


def test_a_plugin_that_breaks_in_a_hook_does_not_break_the_help(cli: Cli, tmp_path: Path) -> None:
    install(
        tmp_path,
        "acme-plugin",
        """
        from joulebench.hookspecs import hookimpl
        JOULEBENCH_API = 1
        @hookimpl
        def joulebench_commands(): raise RuntimeError("no")
        """,
    )
    answer = cli("--help", environment={"PYTHONPATH": str(tmp_path)})
    assert (answer.code, answer.stderr) == (0, "")


def test_an_interrupt_while_plugins_load_is_no_fault_of_the_plugin(tmp_path: Path) -> None:
    install(tmp_path, "acme-plugin", "raise KeyboardInterrupt")
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", "plugin", "list"],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stderr.strip()) == (130, "joulebench: stopped")


#: Names of plugins that are words of the language, too.
_WORDS = {"command", "cpu", "estimate", "memory", "perf", "rail", "thermal"}


def test_the_core_names_no_plugin() -> None:
    """Neither in code nor in words; a fake of a sensor's tree may name the probe that reads it."""
    registry = default_registry()
    kinds = ("backend", "probe", "technique", "converter")
    names = {name for kind in kinds for name in registry.names(kind)} - _WORDS
    assert len(names) > 30
    named = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names)))})(?![\w>-])")  # torch>=2.5 is a library
    core = Path(joulebench.__file__).parent
    places = [
        f"{file.relative_to(core)}:{number}: {match[0]}"
        for file in sorted(core.rglob("*.py"))
        if file.parent.name != "testing"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (match := named.search(line))
    ]
    assert places == []
