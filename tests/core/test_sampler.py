"""The sampler's own file: readers, edges, and that it needs nothing but the standard library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulebench.meter.live import sampler
from joulebench.meter.live.sampler import FileReader, edge_reader, load_factory


@pytest.mark.parametrize(
    ("text", "how", "value"),
    [
        ("12345\n", {}, 12345),
        ("-7\n", {}, -7),
        ("0x1f\n", {}, 31),
        ("12.9\n", {}, None),
        ("1e9\n", {}, None),
        ("inf\n", {}, None),
        ("1_000\n", {}, None),
        ("12 34 56\n", {"columns": (0, 2)}, 68),
        ("cpu  1 2 3\ncpu0 4 5 6\n", {"key": "cpu0 ", "columns": (1, 2)}, 9),
        ("a 1\nb 2\nc 3\n", {"key": "b", "columns": (1,)}, 2),
        ("7 (a) b) S 1 2 3\n", {"after": ")", "columns": (1,)}, 1),
        ("", {}, None),
        ("nonsense\n", {}, None),
        ("1 2\n", {"columns": (5,)}, None),
        ("a 1\n", {"key": "z", "columns": (1,)}, None),
    ],
)
def test_a_number_is_read_as_its_source_says(
    tmp_path: Path, text: str, how: dict[str, object], value: int | None
) -> None:
    file = tmp_path / "source"
    file.write_text(text)
    reader = FileReader(str(file), **how)  # type: ignore[arg-type]
    assert reader.read() == value
    reader.close()


def test_a_kept_descriptor_sees_the_file_change(tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_text("1\n")
    reader = FileReader(str(file))
    assert reader.read() == 1
    with file.open("r+") as same:
        same.write("2\n")
    assert reader.read() == 2
    reader.close()


def test_edges_come_in_the_order_of_the_sources_and_a_failed_one_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1\n")
    (tmp_path / "two").write_text("2\n")

    def spec(index: int, name: str) -> dict[str, object]:
        path = str(tmp_path / name)
        return {"channel": index, "path": path, "key": None, "columns": [0], "after": None}

    reader = {"channel": 3, "factory": "no_such_module:x", "argument": "", "item": 0}
    read = edge_reader([spec(9, "two"), spec(4, "gone"), reader, spec(2, "one")])
    assert read() == [2, None, None, 1]


def test_a_factory_is_loaded_without_running_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "heavy_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the plugin itself was imported')\n")
    (package / "reader.py").write_text("def make(argument):\n    return argument * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_factory("heavy_package.reader:make")("ab") == "abab"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("name", ["no_such_package.reader:make", "json.no_such_module:make"])
def test_a_factory_that_does_not_exist_is_an_import_error(name: str) -> None:
    with pytest.raises((ImportError, FileNotFoundError)):
        load_factory(name)


def test_the_file_needs_the_standard_library_alone() -> None:
    code = (
        f"import runpy, sys\nrunpy.run_path({sampler.__file__!r}, run_name='other')\n"
        "found = set(sys.modules) - set(sys.stdlib_module_names) - {'__main__'}\n"
        "print(sorted(name for name in found if name.partition('.')[0] not in"
        " sys.stdlib_module_names))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("text", ["9223372036854775808", "9" * 40, "-9223372036854775809"])
def test_a_number_that_no_record_holds_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "energy").write_text(text + "\n", encoding="utf-8")
    assert FileReader(str(tmp_path / "energy")).read() is None


def test_a_pipe_in_place_of_a_file_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "energy")
    assert FileReader(str(tmp_path / "energy")).read() is None
