"""Nothing that a stranger wrote steers the terminal: one guard on all that commands print."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from joulebench.commands.terminal import GuardedStream, encodable, guarded_output, harmless
from joulebench.testing.samples import write_sample_session

if TYPE_CHECKING:
    from conftest import Cli

#: A title (OSC 0), a screen clear, the same with the one-character CSI, a clipboard (OSC 52), text that runs
#: backwards, and a line that overwrites the one before.
STEERING = [
    "\x1b]0;pwned\x07",
    "\x1b[2J\x1b[H",
    "\x9b2J",
    "\x1b]52;c;cm0gLXJm\x1b\\\\",
    "\u202etxt.exe",
    "\u2066x\u2069",
    "\rok",
    "\x08\x08",
    "\x1b[8mhidden",
    "\ud800",
]


@pytest.mark.parametrize("text", STEERING)
def test_what_steers_a_terminal_is_made_visible(text: str) -> None:
    shown = harmless(f"a name {text} of a model")
    assert "\ufffd" in shown
    assert not set(shown) & set("\x1b\x9b\x07\x08\r\u202e\u2066\u2069\ud800")
    assert shown.startswith("a name ")
    assert shown.endswith(" of a model")


@pytest.mark.parametrize(
    "text", ["plain", "zwei\tSpalten\n", "µJ ± 1 → 日本語 👩‍🔬", "\x1b[1mbold\x1b[0m", "\r\x1b[Kstep 1"]
)
def test_text_in_any_script_and_our_own_styles_stay(text: str) -> None:
    assert harmless(text) == text


def test_a_terminal_without_unicode_is_written_to_in_ascii() -> None:
    assert encodable("0.51 ± 0.02 µJ – 2 × …", "ascii") == "0.51 +- 0.02 uJ - 2 x ..."
    assert encodable("日本 ± 1", "ascii") == "?? +- 1"
    assert encodable("0.51 ± 0.02 µJ", "latin-1") == "0.51 ± 0.02 µJ"
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    GuardedStream(stream).write("J/token ± 1 → \x1b[2J")
    stream.flush()
    assert raw.getvalue() == b"J/token +- 1 -> ?[2J"


def test_a_report_reaches_a_pipe_without_unicode(cli: Cli, tmp_path: Path) -> None:
    folder = write_sample_session(tmp_path / "s")
    for form in ("terminal", "markdown", "csv"):
        done = cli("report", str(folder), "--format", form, environment={"PYTHONIOENCODING": "ascii"})
        assert done.code == 0, done.stderr
        assert done.stdout.isascii()


def test_the_guard_stands_on_both_streams_and_is_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with guarded_output():
        assert isinstance(sys.stdout, GuardedStream)
        print("\x1b]0;pwned\x07")
        print("\x9b2J", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out
    assert "\x9b" not in captured.err


def test_no_command_passes_on_what_a_session_or_a_path_smuggles_in(tmp_path: Path, cli: Cli) -> None:
    name = "\x1b]0;pwned\x07\x9b2J\u202e"
    folder = write_sample_session(tmp_path / f"s{name}", text=f"a {name} model")
    calls = [
        ("report", folder),
        ("report", folder, "--cell", name),
        ("session", "verify", folder),
        ("session", "verify", tmp_path / name),
        ("plan", name),
        ("models", "show", name),
        ("plugin", "check", name),
        ("compare", folder, folder),
        ("advise", folder),
    ]
    for call in calls:
        answer = cli(*call)
        for text in (answer.stdout, answer.stderr):
            assert not set(text) & set("\x1b\x9b\x07\u202e"), call
        assert "Traceback" not in answer.stderr, call
