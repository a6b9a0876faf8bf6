"""Fetching by the user's own pip from an index, here a folder of wheels that the tests make."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from joulebench.errors import ModelError, UnavailableError
from joulebench.models.fetch import WheelFile, catalogue_text, wheel_file, wheel_file_path

CONTENT = b'{"passage": "one"}\n\n{"passage": " two "}\n{"passage": "one"}\n'


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))
    return folder


def serve(index: Path, content: bytes = CONTENT, requires: str = "") -> WheelFile:
    """Put a wheel with one data file on the index."""
    wheel = index / "textpack-1.0-py3-none-any.whl"
    info = "textpack-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("textpack/__init__.py", "raise SystemExit('never imported')")
        archive.writestr("textpack/data.jsonl", content)
        metadata = f"Metadata-Version: 2.1\nName: textpack\nVersion: 1.0\n{requires}"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return WheelFile(
        "textpack==1.0",
        hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "textpack/data.jsonl",
        hashlib.sha256(content).hexdigest(),
        len(content),
        "text",
    )


def quiet(_: str) -> None:
    pass


def test_a_file_is_fetched_once_checked_and_kept(index: Path) -> None:
    wanted = serve(index)
    said: list[str] = []
    path = wheel_file(wanted, said.append)
    assert path.read_bytes() == CONTENT
    assert len(said) == 1
    (index / "textpack-1.0-py3-none-any.whl").unlink()
    assert wheel_file(wanted, said.append) == path, "from the cache: the index has it no more"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_wheel_is_fetched_without_what_it_depends_on(index: Path) -> None:
    wanted = serve(index, requires="Requires-Dist: absent-from-every-index\n")
    assert wheel_file(wanted, quiet).is_file()


def test_a_wheel_of_another_hash_is_refused_by_pip(index: Path) -> None:
    wanted = replace(serve(index), wheel_sha256="0" * 64)
    with pytest.raises(UnavailableError, match="pip could not fetch textpack"):
        wheel_file(wanted, quiet)
    assert not wheel_file_path(wanted).exists()


@pytest.mark.parametrize(
    "change", [{"sha256": "0" * 64}, {"size_bytes": 3}, {"size_bytes": 10_000, "sha256": "1" * 64}]
)
def test_a_member_of_another_hash_or_longer_than_described_is_refused(index: Path, change: dict[str, object]) -> None:
    wanted = replace(serve(index), **change)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="has sha256"):
        wheel_file(wanted, quiet)
    assert not wheel_file_path(wanted).exists()


def test_a_member_that_is_not_in_the_wheel_is_named(index: Path) -> None:
    with pytest.raises(ModelError, match="cannot read textpack/absent"):
        wheel_file(replace(serve(index), member="textpack/absent"), quiet)


def test_a_package_that_the_index_lacks_gives_the_command_to_try(index: Path) -> None:
    wanted = replace(serve(index), requirement="absent-pack==1")
    with pytest.raises(UnavailableError) as caught:
        wheel_file(wanted, quiet)
    assert "pip download --no-deps absent-pack==1" in (caught.value.hint or "")


def test_a_truncated_file_in_the_cache_is_fetched_again(index: Path) -> None:
    wanted = serve(index)
    path = wheel_file(wanted, quiet)
    path.write_bytes(CONTENT[:-1])
    assert wheel_file(wanted, quiet).read_bytes() == CONTENT


def test_passages_are_joined_each_once(index: Path) -> None:
    text = catalogue_text(serve(index), "jsonl:passage", quiet)
    assert text.read_text("utf-8") == "one\n\ntwo\n"


@pytest.mark.parametrize("line", ["{", "[]", json.dumps({"other": 1})])
def test_a_line_without_the_field_is_named(index: Path, line: str) -> None:
    wanted = serve(index, CONTENT + line.encode())
    with pytest.raises(ModelError, match="not a JSON object with a 'passage'") as caught:
        catalogue_text(wanted, "jsonl:passage", quiet)
    assert (caught.value.where or "").endswith("data.jsonl:5")


def test_a_checkpoint_in_a_folder_of_a_wheel_comes_with_its_small_files_and_no_code(index: Path) -> None:
    wheel, weights = index / "textpack-1.0-py3-none-any.whl", b"numbers"
    serve(index)
    with zipfile.ZipFile(wheel, "a") as archive:
        files = {"model.safetensors": weights, "config.json": b"{}", "run.py": b"raise", "deep/vocab.txt": b"x"}
        for name, content in files.items():
            archive.writestr(f"textpack/model/{name}", content)
    digest, whole = hashlib.sha256(weights).hexdigest(), hashlib.sha256(wheel.read_bytes()).hexdigest()
    wanted = WheelFile("textpack==1.0", whole, "textpack/model/", digest, len(weights), "hf")
    path = wheel_file(wanted, quiet)
    assert path == wheel_file_path(wanted)
    assert path.read_bytes() == weights
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.json", "model.safetensors"]
