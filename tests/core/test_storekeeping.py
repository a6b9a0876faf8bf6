"""``joulebench artifacts``: what is in the store, whether it is whole, what can go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from joulebench.api import Artifact
from joulebench.cli import main
from joulebench.models.making import Transform
from joulebench.models.store import Store, hash_content

DAY_S = 86400.0
SOURCE = Artifact("hf", Path("/source"), "0" * 64, 1)


def step(name: str) -> Transform:
    return Transform("converter", name, "packed", {"dtype": "float32"}, {"lib": "1"})


class Shelf:
    """A store with entries that are written by hand, as :class:`Store` would."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def put(self, name: str, used_days_ago: float = 0.0) -> Path:
        """An entry with one file; its folder."""
        folder = self.store.root / self.store.key(SOURCE, step(name))
        content = folder / "content"
        content.mkdir(parents=True)
        (content / "weights").write_text(name * 1000, "utf-8")
        digest, size = hash_content(content)
        manifest = folder / "artifact.json"
        manifest.write_text(
            json.dumps(
                {
                    "format": "packed",
                    "hash": digest,
                    "size_bytes": size,
                    "lineage": ["given", name],
                    "evidence": {},
                    "seconds": 1.0,
                }
            ),
            "utf-8",
        )
        used_s = time.time() - used_days_ago * DAY_S
        os.utime(manifest, (used_s, used_s))
        return folder


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty store in the cache that the commands use."""
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))
    return Shelf(tmp_path / "cache")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(["artifacts", *arguments])
    return int(end.value.code or 0), capsys.readouterr().out


def test_an_empty_cache_is_no_fault(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list") == (0, f"0 artifacts, 0.0 MB in {shelf.store.root}\n")
    assert run(capsys, "verify") == (0, "0 of 0 artifacts are whole\n")
    assert run(capsys, "prune") == (0, "0 artifacts, 0.0 MB freed\n")


def test_the_list_says_what_each_is_the_last_used_first(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = shelf.put("old", 40), shelf.put("new", 1)
    assert shelf.store.find(SOURCE, step("old")) is not None  # a use
    listed = json.loads(run(capsys, "list", "--json")[1])
    assert [artifact["key"] for artifact in listed] == [old.name, new.name]
    assert [artifact["lineage"] for artifact in listed] == [["given", "old"], ["given", "new"]]
    assert listed[0]["size_bytes"] == sum(f.stat().st_size for f in old.rglob("*") if f.is_file())
    text = run(capsys, "list")[1]
    assert "given > old" in text
    assert "2 artifacts" in text


def test_verify_finds_a_changed_byte_and_a_lost_end(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    whole, changed, cut = shelf.put("whole"), shelf.put("changed"), shelf.put("cut")
    (changed / "content" / "weights").write_text("Changed" + "changed" * 999, "utf-8")
    (cut / "content" / "weights").write_text("cu", "utf-8")
    code, text = run(capsys, "verify")
    assert code == 1
    assert f"{changed.name}: its files are not what was written (another sha256)" in text
    assert f"{cut.name}: damaged entry in the artifact cache (2 bytes where 3000" in text
    assert "1 of 3 artifacts are whole" in text
    assert run(capsys, "verify", whole.name[:10])[0] == 0


def test_prune_takes_what_is_damaged_or_long_unused(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    recent, old, damaged = shelf.put("recent", 29), shelf.put("old", 31), shelf.put("damaged")
    (damaged / "artifact.json").write_text("{", "utf-8")
    left = shelf.store.root / ".making-killed"
    left.mkdir()
    assert "2 artifacts" in run(capsys, "prune", "--dry-run")[1]
    assert all(item.is_dir() for item in (recent, old, damaged, left)), "a dry run removes nothing"
    code, text = run(capsys, "prune")
    assert (code, [entry.name for entry in shelf.store.root.iterdir()]) == (0, [recent.name])
    assert f"removed {old.name}" in text
    assert run(capsys, "prune", "--unused-days", "0")[1].startswith(f"removed {recent.name}")
    assert list(shelf.store.root.iterdir()) == []


def test_prune_by_key_takes_that_one_alone(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = shelf.put("one"), shelf.put("two", 99)
    assert run(capsys, "prune", one.name[:12])[0] == 0
    assert [entry.name for entry in shelf.store.root.iterdir()] == [two.name]
    with pytest.raises(SystemExit) as end:
        main(["artifacts", "prune", "nosuch"])
    assert end.value.code == 2
    assert "no artifact of that key" in capsys.readouterr().err


def test_what_another_process_uses_is_not_pruned(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shelf.put("used")
    hold = (
        "import sys\nfrom pathlib import Path\nfrom joulebench.api import Artifact\n"
        "from joulebench.models.making import Transform\nfrom joulebench.models.store import Store\n"
        "source = Artifact('hf', Path('/source'), '0' * 64, 1)\n"
        "step = Transform('converter', 'used', 'packed', {'dtype': 'float32'}, {'lib': '1'})\n"
        "store = Store()\nprint(store.find(source, step) is not None, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        assert user.stdin is not None
        assert user.stdout.readline() == "True\n"
        code, text = run(capsys, "prune", folder.name)
        assert (code, folder.is_dir()) == (0, True)
        assert f"in use, kept: {folder.name}" in text
        user.stdin.close()
    assert run(capsys, "prune", folder.name)[0] == 0
    assert not folder.exists()


def test_what_was_pruned_in_between_is_made_again(shelf: Shelf) -> None:
    folder = shelf.put("gone")
    assert shelf.store.find(SOURCE, step("gone")) is not None
    shutil.rmtree(folder)
    assert shelf.store.find(SOURCE, step("gone")) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", 5),
        ("hash", None),
        ("size_bytes", "3000"),
        ("lineage", "abc"),
        ("lineage", [1]),
        ("evidence", []),
        ("seconds", "long"),
        ("seconds", None),
    ],
)
def test_a_manifest_of_other_types_is_a_damaged_entry(
    shelf: Shelf, capsys: pytest.CaptureFixture[str], name: str, value: object
) -> None:
    entry = shelf.put("one")
    manifest = json.loads((entry / "artifact.json").read_text("utf-8"))
    (entry / "artifact.json").write_text(json.dumps({**manifest, name: value}), "utf-8")
    run(capsys, "list")  # without a traceback
    code, text = run(capsys, "verify")
    assert code == 1
    assert f"another type in {name}" in text or "were written" in text


@pytest.mark.timeout(20)
def test_a_fifo_in_place_of_a_manifest_hangs_nobody(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    entry = shelf.put("one")
    (entry / "artifact.json").unlink()
    os.mkfifo(entry / "artifact.json")
    for command in ("list", "verify"):
        run(capsys, command)
