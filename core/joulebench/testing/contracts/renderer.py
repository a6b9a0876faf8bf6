"""The contract of renderers: every session can be shown, and foreign text stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from joulebench.testing.contracts.base import PluginContract, expect, require_available, subject_of
from joulebench.testing.samples import HOSTILE, write_sample_session

#: What of the hostile text must not come out as it is, by the suffix of the report.
_LIVE: Final[dict[str, str]] = {".html": '<img src=x onerror="pwned()">', ".svg": "<img src=x"}
#: A control sequence that a terminal or pager would obey.
_CONTROL: Final = "\x1b]0;pwned"


class RendererContract(PluginContract):
    """The promises of a renderer, on small sessions made by the product's own writer."""

    kind = "renderer"

    def test_its_suffix_is_one(self, plugin: Any) -> None:
        """Empty for the terminal, otherwise a dot and a word."""
        suffix = subject_of(plugin).plugin.suffix
        expect(
            suffix == "" or (suffix.startswith(".") and len(suffix) > 1 and "/" not in suffix),
            f"its suffix is {suffix!r}",
            "use something like '.html', or '' for a text that is printed",
        )

    def test_a_session_becomes_text_or_bytes(self, plugin: Any, tmp_path: Path) -> None:
        """A session with a good, a failed and a skipped cell."""
        shown = _shown(plugin, write_sample_session(tmp_path / "session"))
        expect(bool(shown), "the report is empty", "say at least which cells there are")

    def test_an_unfinished_session_can_be_shown(self, plugin: Any, tmp_path: Path) -> None:
        """A running or killed run."""
        _shown(plugin, write_sample_session(tmp_path / "session", status="running"))

    def test_the_same_session_gives_the_same_report(self, plugin: Any, tmp_path: Path) -> None:
        """Reports are made again from the same files."""
        folder = write_sample_session(tmp_path / "session")
        expect(
            _shown(plugin, folder) == _shown(plugin, folder),
            "two reports of one session differ",
            "leave out the time of making, random ids and the order of sets",
        )

    def test_foreign_text_stays_inert(self, plugin: Any, tmp_path: Path) -> None:
        """Prompts, answers, names and errors may hold markup and control characters."""
        shown = _shown(plugin, write_sample_session(tmp_path / "session", text=HOSTILE))
        text = shown if isinstance(shown, str) else shown.decode("utf-8", "replace")
        expect(
            _CONTROL not in text,
            "a control sequence of a prompt or name comes out as it is",
            "replace characters below U+0020, but for line ends of your own",
        )
        live = _LIVE.get(subject_of(plugin).plugin.suffix)
        expect(
            live is None or live not in text,
            "markup of a prompt or name comes out as markup",
            "escape every text that is not your own: html.escape(text)",
        )


def _shown(plugin: Any, folder: Path) -> str | bytes:
    from joulebench.session import Session

    subject = subject_of(plugin)
    require_available(subject.plugin)
    shown: object = subject.plugin.render(Session(folder), subject.complete_settings())
    expect(isinstance(shown, (str, bytes)), f"render() gave {type(shown).__name__}", "return str or bytes")
    assert isinstance(shown, (str, bytes))  # noqa: S101
    return shown
