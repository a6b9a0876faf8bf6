"""What reports cost: a session of 10 million readings, and pages of 12 and of 500 cells.

Seconds, processor seconds and peak memory of each ``joulebench report`` as the kernel counts them,
and the weight of the page; its loading in Chromium where Playwright and a browser are installed.
The sessions are made up, and their energy says that it is simulated.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reports"))

import make_session

from joulebench.session.conversion import rows_of
from joulebench.session.files import read_file, write_table
from joulebench.session.schema import CELL_TABLES, versioned
from joulebench.session.tables import CellRow
from joulebench.session.writing import SessionWriter

READINGS = 10_000_000
CELLS = 4
RUNS = 3
#: Channels of the made-up sessions: one counter at 100 Hz is most of the readings.
_STEP_NS = 10_000_000


def large_session(folder: Path, readings: int = READINGS) -> Path:
    """Cells whose tables of readings hold so many rows together."""
    cells = [
        make_session.Cell(
            f"cell-{place}", f"cell {place}", energies={"simulated": 1.0}, samples=False, blocks=40, seconds=60.0
        )
        for place in range(CELLS)
    ]
    path = make_session.write(folder / "large", cells)
    for cell in cells:
        write_table(path / "cells" / cell.id / "samples.arrow", readings_of(readings // CELLS))
        [row] = rows_of(read_file(path / "cells" / cell.id / "cell.arrow"), CellRow, cell.id)
        SessionWriter(path).write_cell(row)  # with the checksum of the table that is there now
    return path


def readings_of(count: int) -> pa.Table:
    """A counter that rises by 20 W at 100 Hz."""
    place = pa.array(range(count), pa.int64())
    t_ns = pc.add(pc.multiply(place, _STEP_NS), make_session.START_NS)
    raw = pc.multiply(place, 200_000)
    zeros = pa.nulls(count, pa.int32()).fill_null(0)
    columns = [
        t_ns,
        pa.DictionaryArray.from_arrays(zeros, pa.array([make_session.channel_name("simulated")])),
        raw,
        pa.DictionaryArray.from_arrays(zeros, pa.array(["tick"])),
    ]
    return pa.Table.from_arrays(columns, schema=versioned(CELL_TABLES["samples"]))


def cost(*arguments: str) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MiB) of one command."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "joulebench", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"joulebench {' '.join(arguments)} failed")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def show(what: str, *arguments: str) -> None:
    runs = [cost(*arguments) for _ in range(RUNS)]
    seconds, cpu_s, peak = min(runs)
    print(f"{what}: {seconds:.2f} s (best of {RUNS}), CPU {cpu_s:.2f} s, peak {peak:.0f} MiB")


def page(path: Path, what: str) -> None:
    file = path / "page.html"
    show(f"{what}: page", "report", str(path), "--format", "html", "-o", str(file))
    print(f"{what}: page weighs {file.stat().st_size / 1e6:.2f} MB")
    loaded = in_browser(file, _filtered)
    if loaded is not None:
        print(f"{what}: drawn after {loaded[0]:.2f} s, filtered in {loaded[1]:.3f} s (Chromium)")


def _filtered(opened: Any) -> float:
    """Seconds until the table shows what is typed into its filter."""
    start = time.perf_counter()
    opened.fill("#filter", "torch")
    opened.wait_for_function("document.getElementById('matches').textContent !== ''")
    return time.perf_counter() - start


def in_browser(file: Path, look: Callable[[Any], float]) -> tuple[float, float] | None:
    """(seconds until everything is drawn, what ``look`` gives); ``None`` without a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page()
        start = time.perf_counter()
        opened.goto(file.as_uri())
        opened.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=120_000)
        drawn = time.perf_counter() - start
        seen = look(opened)
        browser.close()
    return drawn, seen


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        large = large_session(Path(scratch))
        readings = f"{READINGS / 1e6:.0f} million readings"
        show(f"{readings}: terminal", "report", str(large))
        page(large, readings)
        for count in (12, 500):
            path = make_session.write(
                Path(scratch) / str(count), make_session.many_cells(count), profile_name="made-up"
            )
            show(f"{count} cells: terminal", "report", str(path))
            page(path, f"{count} cells")


if __name__ == "__main__":
    main()
