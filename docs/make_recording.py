"""Makes docs/session.svg: a terminal session as it was, played line by line.

``python docs/make_recording.py`` plans, measures and reads the profile ``quick``, which takes some minutes. With
``--from FOLDER`` it reads the last session in FOLDER/sessions instead. Waits longer than a second are cut; a reader
who wants no motion sees the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

PICTURE: Final = Path(__file__).with_name("session.svg")
PLAN: Final = "joulebench plan quick"
RUN: Final = "joulebench run quick --no-report"
READ: Final = ("joulebench report latest", "joulebench advise latest")
_COLUMNS: Final = 100
_ROWS: Final = 34
_LETTER_PX: Final = 7.83
_LINE_PX: Final = 18
_MARGIN_PX: Final = 16
#: From a line of letters down to the next row.
_BELOW_PX: Final = 5
#: The longest wait that is played, how long a command takes to be typed, and a line to be seen, in s.
_WAIT_S: Final = 1.0
_TYPING_S: Final = 1.2
_LINE_S: Final = 0.04


class Line(NamedTuple):
    """A line of the terminal and the second in which it comes."""

    at_s: float
    text: str
    typed: bool = False


def recorded(commands: Sequence[str], folder: Path) -> list[Line]:
    """The commands and what they print, each line as far from the one before as it was, waits cut."""
    lines: list[Line] = []
    now_s = 0.0
    for command in commands:
        now_s += _TYPING_S
        lines.append(Line(now_s, f"$ {command}", typed=True))
        for gap_s, text in _printed(command, folder):
            now_s += max(_LINE_S, min(gap_s, _WAIT_S))
            lines.append(Line(now_s, text))
        lines.append(Line(now_s, ""))
    return lines[:-1]


def _printed(command: str, folder: Path) -> Iterator[tuple[float, str]]:
    """Each line of a command's output, and the seconds since the one before."""
    environment = {**os.environ, "COLUMNS": str(_COLUMNS), "PYTHONUNBUFFERED": "1"}
    arguments = [sys.executable, "-m", *command.split()]
    process = subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None  # noqa: S101
    before = time.monotonic()
    for line in process.stdout:
        now = time.monotonic()
        yield now - before, line.rstrip("\n")[:_COLUMNS]
        before = now
    if process.wait() not in (0, 1):  # advise ends with 1 where it recommends nothing
        sys.exit(f"{command} ended with {process.returncode}")


def svg(lines: Sequence[Line]) -> str:
    """The lines as an SVG that plays itself once, in a window of so many rows."""
    width, height = round(_COLUMNS * _LETTER_PX) + 2 * _MARGIN_PX, _ROWS * _LINE_PX + 2 * _MARGIN_PX
    whole_s = lines[-1].at_s if lines else 0.0
    scrolled = max(0, len(lines) - _ROWS)
    steps = "".join(
        f"{100 * lines[_ROWS + place].at_s / whole_s:.2f}%{{transform:translateY({-(place + 1) * _LINE_PX}px)}}"
        for place in range(scrolled)
    )
    texts = "".join(_element(place, line) for place, line in enumerate(lines) if line.text)
    style = (
        "text{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#d7dde5;white-space:pre;"
        "animation:shown .001s backwards}.typed{fill:#7ee0b5;font-weight:700}"
        f"#lines{{transform:translateY({-scrolled * _LINE_PX}px);animation:scrolled {whole_s:.2f}s step-end backwards}}"
        "@keyframes shown{from{opacity:0}to{opacity:0}}"
        f"@keyframes scrolled{{0%{{transform:translateY(0)}}{steps}}}"
        "@media (prefers-reduced-motion:reduce){text,#lines{animation:none}}"
    )
    commands = escape("; ".join(line.text.removeprefix("$ ") for line in lines if line.typed))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="a terminal: {commands}">'
        f'<style>{style}</style><rect width="{width}" height="{height}" rx="8" fill="#161b22"/>'
        f'<svg x="{_MARGIN_PX}" y="{_MARGIN_PX}" width="{width - 2 * _MARGIN_PX}" height="{height - 2 * _MARGIN_PX}">'
        f'<g id="lines">{texts}</g></svg></svg>\n'
    )


def _element(place: int, line: Line) -> str:
    kind = "typed" if line.typed else "printed"
    delay = f"animation-delay:{line.at_s:.2f}s"
    return f'<text y="{(place + 1) * _LINE_PX - _BELOW_PX}" class="{kind}" style="{delay}">{escape(line.text)}</text>'


def main(arguments: Sequence[str] | None = None) -> int:
    """Record the session and write its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, help="folder whose sessions/ has a session to read")
    folder = parser.parse_args(arguments).folder
    with tempfile.TemporaryDirectory() as scratch:
        commands = (PLAN, RUN, *READ) if folder is None else (PLAN, *READ)
        lines = recorded(commands, Path(scratch) if folder is None else folder)
    PICTURE.write_text(svg(lines), encoding="utf-8")
    print(f"wrote {PICTURE.name}: {len(lines)} lines, {lines[-1].at_s:.0f} s, {PICTURE.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
