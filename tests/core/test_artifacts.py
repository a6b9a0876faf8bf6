"""The artifact store: addressed by content, made once, never half."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from joulebench.api import Artifact
from joulebench.errors import ArtifactError
from joulebench.models.making import MakingLimits, Transform
from joulebench.models.store import Store, hash_content

PLUGIN = '''
import os, time
from pathlib import Path
from joulebench.api import ArtifactTechnique, Option
from joulebench.errors import ModelError
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1

class Upper(ArtifactTechnique):
    """Writes its source in capitals; ``how`` chooses how it goes wrong."""
    name, stage, accepts, produces = "upper", "checkpoint", "hf", "hf"
    options = (Option("how", "str", "well", ""),)

    def apply(self, source, output, settings):
        print("a library that chatters on standard output")
        how = settings["how"]
        if "/" in how:
            raise ModelError("got " + how)
        if how == "nothing":
            return
        (output / "half").write_text("x")
        if how == "raise":
            raise ModelError("is odd", where="there", hint="do this")
        if how == "bug":
            raise ZeroDivisionError("oh")
        if how == "die":
            os.kill(os.getpid(), 9)
        if how == "memory":
            raise MemoryError
        if how == "hang":
            time.sleep(60)
        if how == "grow":
            kept = bytearray(1 << 28)
            kept[::4096] = b"x" * len(kept[::4096])
            time.sleep(60)
        (output / "text").write_text((source / "text").read_text().upper())
        (output / "half").unlink()

    def evidence(self, before, after, settings):
        return {"letters": len((after / "text").read_text())}

@hookimpl
def joulebench_techniques():
    return [Upper]
'''


@pytest.fixture
def source(tmp_path: Path) -> Artifact:
    """A folder with one text."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "text").write_text("hello", "utf-8")
    digest, size = hash_content(folder)
    return Artifact("hf", folder, digest, size, ("given",))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, and the technique ``upper`` as an installed distribution."""
    site = tmp_path / "site"
    info = site / "upper-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "upper_plugin.py").write_text(PLUGIN, "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: upper\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text("[joulebench]\nupper = upper_plugin\n", "utf-8")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    return Store(tmp_path / "cache")


def step(how: str = "well", **versions: str) -> Transform:
    return Transform("technique", "upper", "hf", {"how": how}, versions)


def left_over(store: Store) -> list[str]:
    return sorted(entry.name for entry in store.root.iterdir())


def test_a_step_is_done_once_and_then_found(store: Store, source: Artifact) -> None:
    said: list[str] = []
    made = store.make(source, step(), said.append)
    assert (made.artifact.path / "text").read_text("utf-8") == "HELLO"
    assert made.artifact.lineage == ("given", "upper(how=well)")
    assert made.evidence == {"letters": 5}
    assert (made.artifact.content_hash, made.artifact.size_bytes) == hash_content(made.artifact.path)
    assert store.make(source, step(), said.append) == made
    assert said == ["upper(how=well): source"]


def test_content_settings_versions_and_format_each_make_another_artifact(store: Store, source: Artifact) -> None:
    keys = {
        store.key(source, step()),
        store.key(replace(source, content_hash="0" * 64), step()),
        store.key(replace(source, format="other"), step()),
        store.key(source, step("other")),
        store.key(source, step(lib="1")),
        store.key(source, step(lib="2")),
        store.key(source, replace(step(), kind="converter")),
    }
    assert len(keys) == 7


def test_a_file_counts_by_its_content_wherever_it_lies(store: Store, source: Artifact, tmp_path: Path) -> None:
    def key(name: str, text: str, setting: str) -> str:
        (tmp_path / name).write_text(text, "utf-8")
        named = replace(step(), settings={"text": setting}, files={"text": tmp_path / name})
        return store.key(source, named)

    assert key("a", "one", "builtin:a") == key("b", "one", "b.txt")
    assert key("a", "two", "builtin:a") != key("b", "one", "b.txt")


def test_a_technique_is_given_the_path_and_the_lineage_the_name(store: Store, source: Artifact, tmp_path: Path) -> None:
    (tmp_path / "chosen").write_text("well", "utf-8")
    named = replace(step("builtin:chosen"), files={"how": tmp_path / "chosen"})
    with pytest.raises(ArtifactError, match=r"got .*chosen"):
        store.make(source, named)
    assert named.describe() == "upper(how=builtin:chosen)"


def test_where_the_source_lies_makes_no_other_artifact(store: Store, source: Artifact) -> None:
    moved = replace(source, path=Path("/elsewhere"), lineage=("otherwise",))
    assert store.key(source, step()) == store.key(moved, step())


def test_a_folders_hash_is_that_of_names_and_contents(tmp_path: Path) -> None:
    def hashed(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        return hash_content(tmp_path / name)[0]

    same = hashed("one", {"a": "x", "d/b": "y"})
    assert hashed("two", {"d/b": "y", "a": "x"}) == same
    assert hashed("three", {"a": "x", "b": "y"}) != same
    assert hashed("four", {"a": "xy", "d/b": ""}) != same


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "there: is odd\n  hint: do this"),
        ("bug", "'upper' failed: ZeroDivisionError: oh"),
        ("die", "'upper' ended with exit code -9"),
        ("memory", "'upper' ran out of memory"),
        ("nothing", "'upper' wrote nothing"),
    ],
)
def test_a_step_that_fails_says_why_and_leaves_nothing(store: Store, source: Artifact, how: str, words: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        store.make(source, step(how))
    assert words in str(caught.value)
    assert left_over(store) == []
    assert store.find(source, step(how)) is None


_MAKE = """
import json, sys
from pathlib import Path
from joulebench.api import Artifact
from joulebench.models.making import MakingLimits, Transform
from joulebench.models.store import Store, hash_content
job = json.load(sys.stdin)
path = Path(job["source"])
source = Artifact("hf", path, *hash_content(path), ("given",))
step = Transform("technique", "upper", "hf", {"how": job["how"]}, {})
made = Store(Path(job["root"])).make(source, step)
print(made.artifact.path)
"""


def start_making(store: Store, source: Artifact, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _MAKE], stdin=subprocess.PIPE, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    job = {"root": str(store.root.parent), "source": str(source.path), "how": how}
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    return process


def test_two_runs_at_once_end_with_one_whole_artifact(store: Store, source: Artifact) -> None:
    runs = [start_making(store, source, "well") for _ in range(3)]
    paths = {run.stdout.read() for run in runs if run.stdout}
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert len(paths) == 1
    assert left_over(store) == [store.key(source, step())]


def test_what_a_killed_run_leaves_is_not_used_and_goes_with_the_next(store: Store, source: Artifact) -> None:
    run = start_making(store, source, "hang")
    deadline = time.monotonic() + 60
    while not list(store.root.glob(".making-*/content/half")):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.01)
    store.make(source, step())
    assert any(name.startswith(".making-") for name in left_over(store)), "it is being made"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert store.find(source, step("hang")) is None
    store.make(source, step(lib="2"))
    assert left_over(store) == sorted([store.key(source, step()), store.key(source, step(lib="2"))])


@pytest.mark.parametrize("manifest", ["", "{", "[]", "{}", '{"format": "hf"}', "null"])
def test_a_damaged_manifest_is_an_error_that_says_how_to_remove_it(
    store: Store, source: Artifact, manifest: str
) -> None:
    folder = store.make(source, step()).artifact.path.parent
    (folder / "artifact.json").write_text(manifest, "utf-8")
    with pytest.raises(ArtifactError, match="damaged entry") as caught:
        store.make(source, step())
    assert caught.value.where == str(folder)
    assert f"joulebench artifacts prune {folder.name}" in (caught.value.hint or "")


def test_content_that_is_gone_is_an_error_too(store: Store, source: Artifact) -> None:
    path = store.make(source, step()).artifact.path
    (path / "text").unlink()
    path.rmdir()
    with pytest.raises(ArtifactError, match="its content is gone"):
        store.find(source, step())


def test_a_folder_without_a_manifest_stands_in_the_way_and_is_named(store: Store, source: Artifact) -> None:
    folder = store.root / store.key(source, step())
    (folder / "content").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="cannot be put in place"):
        store.make(source, step())


def test_a_step_that_never_ends_is_ended_by_its_limit(store: Store, source: Artifact) -> None:
    limited = Store(store.root.parent, MakingLimits(seconds=3.0))
    with pytest.raises(ArtifactError, match=r"'upper' was ended: not done after 3 s \(limits.make_s\)"):
        limited.make(source, step("hang"))
    assert left_over(store) == []


def test_a_step_that_takes_too_much_memory_is_ended_by_its_limit(store: Store, source: Artifact) -> None:
    limited = Store(store.root.parent, MakingLimits(memory_bytes=150 << 20))
    with pytest.raises(ArtifactError, match=r"MiB resident, limits.memory is 150 MiB"):
        limited.make(source, step("grow"))


def altered(path: Path) -> None:
    """The same size and the same time of change, another content."""
    state = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_what_was_altered_at_equal_size_and_time_is_never_used(store: Store, source: Artifact) -> None:
    altered(store.make(source, step()).artifact.path / "text")
    with pytest.raises(ArtifactError, match="not what was written"):
        Store(store.root.parent).make(source, step())


def test_what_was_altered_before_its_first_use_on_a_machine_is_never_used(store: Store, source: Artifact) -> None:
    path = store.make(source, step()).artifact.path
    (path.parent / "stamps.json").unlink()
    altered(path / "text")
    with pytest.raises(ArtifactError, match="not what was written"):
        Store(store.root.parent).make(source, step())


def test_what_was_copied_is_read_once_and_used(store: Store, source: Artifact) -> None:
    path = store.make(source, step()).artifact.path
    text = (path / "text").read_bytes()
    (path / "text").unlink()
    (path / "text").write_bytes(text)
    before = (path.parent / "stamps.json").read_text("utf-8")
    assert Store(store.root.parent).make(source, step()).artifact.path == path
    assert (path.parent / "stamps.json").read_text("utf-8") != before
