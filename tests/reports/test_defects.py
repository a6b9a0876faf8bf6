"""A defect of a renderer is called one, and its traceback is not lost."""

from __future__ import annotations

from pathlib import Path

import make_session
import pytest
from make_session import Cell

from joulebench import cli as command_line
from joulebench_reports.renderers import MarkdownRenderer


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def render(*_: object) -> str:
        raise KeyError("a defect\x1b[31m")

    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(MarkdownRenderer, "render", render)
    return make_session.write(tmp_path / "session", [Cell("a", "a", blocks=2)])


def test_it_is_named_and_its_traceback_kept(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command_line.main(["report", str(broken), "--format", "markdown"])
    assert end.value.code == 70
    words = capsys.readouterr().err
    assert "failed by a defect of joulebench (test_defects.py, line" in words
    assert "\x1b" not in words
    (file,) = (tmp_path / "cache" / "defects").iterdir()
    assert str(file) in words
    text = file.read_text()
    assert "Traceback (most recent call last)" in text
    assert 'raise KeyError("a defect' in text


def test_debug_shows_it(broken: Path) -> None:
    with pytest.raises(KeyError, match="a defect"):
        command_line.main(["report", str(broken), "--format", "markdown", "--debug"])


def test_it_is_kept_where_the_cache_cannot_be_written(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "elsewhere"))
    with pytest.raises(SystemExit):
        command_line.main(["report", str(broken), "--format", "markdown"])
    assert list((tmp_path / "elsewhere").iterdir())
    capsys.readouterr()
