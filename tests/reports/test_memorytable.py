"""The memory table: the kernel's account and the runtime's, side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import make_session

from joulebench.session import Session
from joulebench_reports.renderers import MarkdownRenderer
from joulebench_reports.sections import memory as memorytable
from joulebench_reports.sections.material import Material
from joulebench_reports.summary.session import empty_cell, summarise
from joulebench_reports.values.figures import Memory

MIB = 2**20
KNOWN = Memory(
    rss_anon_bytes=90 * MIB,
    rss_file_bytes=500 * MIB,
    rss_model_bytes=400 * MIB,
    weights_bytes=400 * MIB,
    kv_allocated_bytes=12 * MIB,
    workspace_bytes=30 * MIB,
)


def test_what_the_runtime_does_not_account_for_is_what_is_left() -> None:
    assert memorytable.unaccounted_bytes(KNOWN) == (90 + 400 - 400 - 12 - 30) * MIB
    copied = replace(KNOWN, rss_anon_bytes=490 * MIB)
    assert memorytable.unaccounted_bytes(copied) == 448 * MIB


def test_without_the_kernels_figures_or_the_weights_the_rest_is_unknown() -> None:
    for name in ("rss_anon_bytes", "rss_model_bytes", "weights_bytes"):
        assert memorytable.unaccounted_bytes(replace(KNOWN, **{name: None})) is None
    assert memorytable.unaccounted_bytes(replace(KNOWN, device_peak_bytes=5)) is None


def written(folder: Path) -> Session:
    return Session(make_session.write(folder / "s", [make_session.Cell("one", "a | b")]))


def test_a_cell_of_which_nothing_is_known_has_no_row(tmp_path: Path) -> None:
    summary = summarise(written(tmp_path))
    only = replace(summary, cells=(replace(empty_cell("x"), status="ok"),))
    assert list(memorytable.memory_section(Material(only))) == []
    assert list(memorytable.memory_section(Material(summary)))


def test_the_reports_have_the_table(tmp_path: Path) -> None:
    text = MarkdownRenderer().render(written(tmp_path), {})
    lines = text.splitlines()
    row = next(line for line in lines if "400 MiB" in line)
    heading = next(line for line in lines if "unaccounted |" in line)
    assert row.count(" | ") == heading.count(" | ") == 11
    assert "a \\| b" in row
    assert "100 MiB" in row, "files that are not the model's"
