"""Environments and interpreters: what counts, what does not, and what is said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from environment_parts import finished, program
from matrix_plugins import backend, plan_of, registry_of, technique, workload

from joulebench.api import Availability, Environment, RuntimeTechnique, Workload
from joulebench.environments.asking import Interpreters, named_python
from joulebench.environments.python import OtherPython, environ_for, package_folders
from joulebench.environments.source import pip_arguments
from joulebench.environments.store import Environments, needed_environments
from joulebench.errors import InterpreterError, PluginError, ProfileError
from joulebench.models.catalogue import read_catalogue
from joulebench.models.making import Transform
from joulebench.models.store import Store
from joulebench.plan.interpreters import Placing
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry
from joulebench.version import __version__

WANTED = Environment("own", ("one>=1", "two"))
TRICKS = ["", ".", "..", "../x", "a/b", "/etc", "a.b", "Ä", "A", "a b", "a\n", "-x", "x" * 65]


@pytest.fixture
def store(tmp_path: Path) -> Environments:
    return Environments(tmp_path)


# -- what a plugin declares -------------------------------------------------------------------


@pytest.mark.parametrize("name", TRICKS)
def test_a_name_that_could_lead_out_of_the_cache_is_refused(name: str, store: Environments) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        Environment(name, ("one",))
    for use in (store.folders, store.record, store.remove, store.hold):
        with pytest.raises(InterpreterError, match="cannot be the name"):
            use(name)


@pytest.mark.parametrize("requirement", ["", "  ", "--index-url x", "-r file"])
def test_what_pip_would_take_for_an_option_is_no_requirement(requirement: str) -> None:
    with pytest.raises(ValueError, match="not a requirement"):
        Environment("own", (requirement,))


def needing(name: str, environment: Environment) -> type[Any]:
    made = technique(name)
    made.environment_needs = environment
    return made


def test_plugins_that_declare_the_same_share_an_environment() -> None:
    environments = needed_environments(registry_of(needing("a", WANTED), needing("b", WANTED)))
    assert environments["own"].plugins == (("technique", "a"), ("technique", "b"))
    assert environments["own"].distributions == ("fakes-dist",)


def test_one_name_for_two_environments_is_refused_with_both_plugins() -> None:
    other = replace(WANTED, requirements=("three",))
    with pytest.raises(PluginError, match="'b' and 'a' declare different environments"):
        needed_environments(registry_of(needing("a", WANTED), needing("b", other)))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (technique("odd"), "environment_needs must be an Environment, not 'own'"),
        (workload("odd"), "environment_needs is for techniques, converters and backends"),
    ],
)
def test_an_environment_of_the_wrong_kind_breaks_its_plugin_alone(made: type[Any], words: str) -> None:
    made.environment_needs = WANTED if issubclass(made, Workload) else "own"
    with pytest.raises(PluginError, match=words):
        registry_of(made)


# -- what is on disk --------------------------------------------------------------------------


def test_an_environment_is_usable_when_its_record_and_its_interpreter_are_there(
    tmp_path: Path, store: Environments
) -> None:
    assert store.fault(WANTED) == "is missing"
    folder = finished(tmp_path, "own", WANTED.requirements)
    assert store.fault(WANTED) is None
    assert store.python_of("own") == OtherPython(str(folder / "bin" / "python"), "own")


def test_an_environment_that_inherits_belongs_to_this_installation_whatever_its_version(
    tmp_path: Path, store: Environments
) -> None:
    inheriting = replace(WANTED, inherits=True)
    folders = list(package_folders())
    finished(tmp_path, "own", WANTED.requirements, joulebench="0.0.7", inherits=folders)
    assert store.fault(inheriting) is None
    assert store.fault(WANTED) == "was made for another installation of joulebench"
    store.remove("own")
    finished(tmp_path, "own", WANTED.requirements, inherits=["/elsewhere/site-packages"])
    assert store.fault(inheriting) == "was made for another installation of joulebench"


def test_a_folder_without_a_record_is_half_made(store: Environments) -> None:
    (store.root / "own.12345678").mkdir(parents=True)
    assert store.fault(WANTED) == "is half made"
    assert store.names() == ["own"]
    store.remove("own")
    assert store.folders("own") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"requirements": ["one"]}, r"was made for other requirements \(one\)"),
        ({"joulebench": "0.0.7"}, f"has joulebench 0.0.7, and this is {__version__}"),
        ({"folder": "../../elsewhere"}, "has lost its folder"),
        ({"folder": "other.0badcafe"}, "has lost its folder"),
        ({"name": "other"}, "has lost its folder"),
        ({"folder": 7}, "damaged|lost"),
        ({"more": 1}, "damaged record"),
    ],
)
def test_an_environment_that_is_not_what_is_needed_says_why(
    tmp_path: Path, store: Environments, change: dict[str, object], words: str
) -> None:
    import re

    finished(tmp_path, "own", WANTED.requirements, **change)
    assert re.search(words, store.fault(WANTED) or "")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7"])
def test_a_damaged_record_is_a_fault_and_can_be_removed(tmp_path: Path, store: Environments, text: str) -> None:
    finished(tmp_path, "own", WANTED.requirements)
    store.record_file("own").write_text(text)
    assert "damaged record" in (store.fault(WANTED) or "")
    store.remove("own")
    assert not store.record_file("own").exists()
    assert store.folders("own") == []


def test_a_lost_interpreter_is_a_fault(tmp_path: Path, store: Environments) -> None:
    folder = finished(tmp_path, "own", WANTED.requirements)
    (folder / "bin" / "python").unlink()
    assert store.fault(WANTED) == "has lost its interpreter"


def test_removing_what_was_never_made_names_what_there_is(tmp_path: Path, store: Environments) -> None:
    finished(tmp_path, "own", WANTED.requirements)
    with pytest.raises(InterpreterError, match="no environment 'owm'") as caught:
        store.remove("owm")
    assert "did you mean 'own'" in str(caught.value.hint)


_HOLD = """
import sys
from pathlib import Path
from joulebench.environments.store import Environments
print(Environments(Path(sys.argv[1])).hold("own"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def user(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the environment."""
    finished(tmp_path, "own", WANTED.requirements)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process


def test_an_environment_in_use_stays_until_its_user_has_ended(user: subprocess.Popen[str], store: Environments) -> None:
    assert store.busy("own")
    with pytest.raises(InterpreterError, match="in use or being made"):
        store.remove("own")
    assert store.fault(WANTED) is None
    user.communicate("")
    store.remove("own")
    assert store.fault(WANTED) == "is missing"


def test_an_environment_that_is_being_made_is_not_used(tmp_path: Path, store: Environments) -> None:
    finished(tmp_path, "own", WANTED.requirements)
    with store.alone("own"):
        place = Interpreters(store).place("technique", needing("a", WANTED)())
    assert place.availability.reason == "environment 'own' is being made by another process"


# -- where a distribution comes from ----------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a distribution as its metadata says it was."""

    def install(origin: object) -> list[str]:
        info = tmp_path / "place" / "made_up-2.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 2.5\n")
        if origin is not None:
            text = origin if isinstance(origin, str) else json.dumps(origin)
            (info / "direct_url.json").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path / "place"))
        return pip_arguments("made-up")

    return install


def test_a_distribution_from_an_index_is_pinned_to_its_version(installed: Any) -> None:
    assert installed(None) == ["made-up==2.5"]


def test_a_distribution_comes_from_where_it_came_from_before(installed: Any, tmp_path: Path) -> None:
    source = tmp_path / "a folder"
    source.mkdir()
    origin = {"url": source.as_uri(), "dir_info": {"editable": True}}
    assert installed(origin) == ["-e", str(source)]


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ({"url": "https://host/x.whl", "archive_info": {}}, "made-up @ https://host/x.whl"),
        (
            {"url": "https://host/r", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "made-up @ git+https://host/r@c0ffee",
        ),
        ("not json", "made-up==2.5"),
        ("[]", "made-up==2.5"),
    ],
)
def test_other_origins_are_told_as_pip_takes_them(installed: Any, origin: object, wanted: str) -> None:
    assert installed(origin) == [wanted]


def test_a_source_that_is_gone_is_named(installed: Any) -> None:
    with pytest.raises(InterpreterError, match=r"installed from /no/such/place, which is gone"):
        installed({"url": "file:///no/such/place", "dir_info": {}})


def test_what_is_no_distribution_cannot_be_installed_elsewhere() -> None:
    with pytest.raises(InterpreterError, match="not installed as a distribution"):
        pip_arguments("no-such-distribution")


# -- interpreters -----------------------------------------------------------------------------


def test_an_interpreter_is_named_by_path_or_by_command(tmp_path: Path) -> None:
    assert named_python("sh", tmp_path).path.endswith("/sh")
    (tmp_path / "link").symlink_to(sys.executable)
    assert named_python("./link", tmp_path).path == str(tmp_path / "link")  # not what it leads to
    with pytest.raises(InterpreterError, match="no program 'no-such-python'"):
        named_python("no-such-python", tmp_path)
    with pytest.raises(InterpreterError, match="no such file"):
        named_python("bin/python", tmp_path)
    (tmp_path / "text").write_text("")
    with pytest.raises(InterpreterError, match="is not a program"):
        named_python("./text", tmp_path)


def ask(path: Path | str, name: str = "prune-magnitude") -> Any:
    plugin = default_registry().technique(name)
    return Interpreters().ask(OtherPython(str(path)), "technique", plugin)


def test_an_interpreter_with_this_joulebench_answers_as_the_plugin_does_here() -> None:
    place = ask(sys.executable)
    plugin = default_registry().technique("prune-magnitude")
    assert place.availability == plugin.available()
    assert place.versions == {"joulebench": __version__, **plugin.versions()}
    assert place.python == OtherPython(sys.executable)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "ended with exit code 3: no message"),
        ("echo broken >&2; exit 1", "ended with exit code 1: broken"),
        ("echo hello", "is not a Python interpreter"),
        ("true", "is not a Python interpreter"),
        ("echo '[]'", "answers nonsense"),
        ('echo \'{"joulebench": "9.9"}\'', "has joulebench 9.9, and this is"),
        ("echo '{\"joulebench\": null}'", "has no joulebench, and this is"),
        (f'echo \'{{"joulebench": "{__version__}", "plugins": []}}\'', "answers nonsense"),
    ],
)
def test_an_interpreter_that_does_not_serve_says_why(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(InterpreterError) as caught:
        ask(program(tmp_path / "python", script))
    assert words in str(caught.value)


def test_an_interpreter_is_asked_once_for_each_plugin(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = program(tmp_path / "python", f'echo x >> {count}; exec {sys.executable} "$@"')
    interpreters = Interpreters()
    plugin = default_registry().technique("prune-magnitude")
    for _ in range(3):
        interpreters.ask(OtherPython(str(script)), "technique", plugin)
    assert count.read_text() == "x\n"


def test_another_interpreter_is_not_led_to_this_one_s_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert environ_for(None)["PYTHONPATH"] == "/somewhere"
    assert "PYTHONPATH" not in environ_for(OtherPython("python"))
    assert environ_for(OtherPython("python"))["PATH"] == os.environ["PATH"]


# -- planning ---------------------------------------------------------------------------------

BODY = "[backend.a]\n[workload.work]\n[technique.{name}]\n{more}"
A = backend("a")


def test_a_missing_environment_skips_its_cells_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path))
    body = "[technique.none]\n" + BODY.format(name="prune", more="")
    cells = plan_of(body, A, needing("prune", WANTED)).cells
    assert [cell.runnable for cell in cells] == [True, False]
    assert cells[1].reason == "environment 'own' is missing (joulebench env create own)"
    assert cells[1].reason_kind == "unavailable"


def planned(more: str) -> Any:
    registry = default_registry()
    text = (
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n'
        f"[workload.generate]\n[technique.prune-magnitude]\n{more}"
    )
    folders = registry.profile_dirs()
    return make_plan(parse_profile(text, "p.toml", Path("/")), registry, read_catalogue(folders), folders)


def test_an_interpreter_of_one_s_own_runs_the_transform_and_gives_its_versions() -> None:
    pytest.importorskip("torch")
    (cell,) = planned(f'python = "{sys.executable}"').cells
    assert cell.runnable
    step = cell.transforms[-1]
    assert step.name == "prune-magnitude"
    assert step.python == OtherPython(sys.executable)
    assert step.versions["torch"] == planned("").cells[0].transforms[-1].versions["torch"]
    assert cell.python is None


def test_a_plan_as_json_holds_no_path_of_an_interpreter() -> None:
    pytest.importorskip("torch")
    text = json.dumps(planned(f'python = "{sys.executable}"').to_json(), default=str)
    assert sys.executable not in text
    assert "an interpreter that the profile names" in text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('python = "/no/such/python"', "no such file: /no/such/python"),
        ('python = ""', "must be the path of an interpreter"),
        ("python = 3", "must be the path of an interpreter"),
        ('python = "/bin/false"', "ended with exit code 1"),
    ],
)
def test_an_interpreter_that_cannot_serve_is_wrong_use_and_said_where(more: str, words: str) -> None:
    with pytest.raises(ProfileError) as caught:
        planned(more)
    assert words in str(caught.value)
    assert "p.toml:7: technique.prune-magnitude.python" in str(caught.value)


def test_an_interpreter_of_a_backend_is_checked_as_well() -> None:
    text = '[backend.a]\npython = "/bin/false"\n[workload.work]\n'
    with pytest.raises(ProfileError, match=r"backend\.a\.python"):
        plan_of(text, A)


def test_the_interpreter_makes_no_other_artifact_where_versions_are_the_same(tmp_path: Path) -> None:
    from joulebench.api import Artifact

    source = Artifact("hf", tmp_path, "0" * 64, 0)
    step = Transform("technique", "x", "hf", {}, {"lib": "1"})
    other = replace(step, python=OtherPython("/somewhere/python", "own"))
    store = Store(tmp_path)
    assert store.key(source, step) == store.key(source, other)
    assert store.key(source, step) != store.key(source, replace(other, versions={"lib": "2"}))


class Acts(RuntimeTechnique):
    """A runtime technique of some environment."""

    name = "acts"
    requires = frozenset()

    def session_options(self, settings: Any) -> Any:
        return {}

    def evidence(self, session: Any, settings: Any) -> dict[str, Any]:
        return {}


def test_a_worker_cannot_be_in_two_environments() -> None:
    from joulebench.environments.asking import Place

    profile = parse_profile("version = 1\n[model.m]\n[backend.a]\n[workload.w]\n", "p", Path("/"))
    there = Place(OtherPython("/one/python", "one"), Availability.yes(), {}, ("cpu",))
    other = Place(OtherPython("/two/python", "two"), Availability.yes(), {})
    _, worker = Placing(profile, Interpreters()).worker(A(), "cpu", there, [(Acts(), other)])
    assert worker.reason == (
        "backend 'a' needs environment one, technique 'acts' needs environment two: one worker cannot be in both"
    )


# -- the command ------------------------------------------------------------------------------


def test_the_list_names_what_is_missing_and_how_to_make_it(cli: Any, tmp_path: Path) -> None:
    here = {"JOULEBENCH_CACHE": str(tmp_path)}
    (tmp_path / "environments" / "left.12345678").mkdir(parents=True)
    answer = cli("env", "list", environment=here)
    assert answer.code == 0
    assert "joulebench env create llmcompressor" in answer.stdout
    assert "joulebench env remove left" in answer.stdout
    rows = {row["name"]: row for row in json.loads(cli("env", "list", "--json", environment=here).stdout)}
    assert rows["llmcompressor"]["ready"] is False
    assert "llmcompressor-gptq" in rows["llmcompressor"]["needed_by"]


@pytest.mark.parametrize("command", ["create", "remove"])
@pytest.mark.parametrize("name", ["../x", "a/b", "Nothing", "unheard-of"])
def test_a_name_that_nobody_needs_or_that_leads_elsewhere_is_refused(
    cli: Any, tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / "x").mkdir()
    answer = cli("env", command, name, environment={"JOULEBENCH_CACHE": str(tmp_path / "cache")})
    assert answer.code == 2
    assert "error" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert (tmp_path / "x").is_dir()


def test_a_plan_says_what_is_missing(cli: Any, tmp_path: Path) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.torch]\n'
        "[workload.generate]\n[technique.llmcompressor-wanda]\n"
    )
    answer = cli("plan", profile, environment={"JOULEBENCH_CACHE": str(tmp_path)})
    assert answer.code == 0
    assert "environment 'llmcompressor' is missing (joulebench env create llmcompressor)" in (answer.stdout)


def test_a_worker_of_another_interpreter_speaks_the_protocol_and_inherits_no_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from joulebench.worker.process import WorkerProcess

    seen = tmp_path / "seen"
    script = f'echo "$PYTHONPATH-$OMP_NUM_THREADS" > {seen}; exec {sys.executable} "$@"'
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    python = OtherPython(str(program(tmp_path / "python", script)))
    worker = WorkerProcess({"OMP_NUM_THREADS": "3"}, python=python)
    try:
        worker.greet(60.0)
    finally:
        worker.close()
    assert seen.read_text() == "-3\n"


def test_a_transform_whose_interpreter_is_gone_costs_its_artifact_only(tmp_path: Path) -> None:
    from joulebench.api import Artifact
    from joulebench.errors import ArtifactError

    source = tmp_path / "source"
    source.mkdir()
    step = Transform("technique", "x", "hf", {}, {}, python=OtherPython("/no/such/python"))
    with pytest.raises(ArtifactError, match="'x' could not be started"):
        Store(tmp_path / "store").make(Artifact("hf", source, "0" * 64, 0), step)
    assert list((tmp_path / "store" / "artifacts").iterdir()) == []
