"""Where resident memory lies: what is mapped from a model's files is told from the rest."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from joulebench.worker.memory import memory_now, resident_in_files

PAGES = 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a file of a few pages."""
    folder = tmp_path / "model (1)"
    folder.mkdir()
    (folder / "weights").write_bytes(b"x" * PAGES * mmap.PAGESIZE)
    return folder


def test_pages_of_a_mapped_file_count_once_they_are_touched(model: Path) -> None:
    assert resident_in_files([model]) == 0
    with (
        (model / "weights").open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED) as mapped,
    ):
        mapped.madvise(mmap.MADV_RANDOM)  # no read-ahead beyond what is touched
        assert sum(mapped[:: mmap.PAGESIZE]) == PAGES * ord("x")
        for place in (model, model / "weights"):
            assert resident_in_files([place]) == PAGES * mmap.PAGESIZE
        beside = model.with_name("model (1) and another")
        assert resident_in_files([beside]) == 0
    assert resident_in_files([model]) == 0


def test_a_file_that_was_read_is_anonymous_memory(model: Path) -> None:
    before = memory_now()
    content = bytearray((model / "weights").read_bytes() * 256)
    after = memory_now()
    assert resident_in_files([model]) == 0
    assert before["rss_anon_bytes"] is not None
    assert after["rss_anon_bytes"] is not None
    assert after["rss_anon_bytes"] - before["rss_anon_bytes"] > len(content) / 2
    assert set(after) == {"rss_bytes", "rss_peak_bytes", "rss_anon_bytes", "rss_file_bytes", "pss_bytes"}
