"""What stands between joulebench's text and a terminal: nothing foreign steers it.

Names of sessions, models, plugins and zones are a stranger's. Whatever a command prints passes
through here once, so that no call site has to remember it.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from joulebench.errors import SessionError

if TYPE_CHECKING:
    from typing import TextIO

#: Colours, bold and dim (ECMA-48, SGR), and the line that a progress display overwrites.
_ALLOWED: Final = r"\x1b\[(?:[0-2]|22|3[0-79]|9[0-7])?(?:;(?:[0-2]|22|3[0-79]|9[0-7]))*m|\r\x1b\[K|\r\n"
#: C0 and C1 controls but tab and line feed; marks that change the direction of text; line and
#: paragraph separators; surrogates, which cannot be encoded.
_STEERING: Final = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_EITHER: Final = re.compile(f"({_ALLOWED})|{_STEERING}")
_REPLACEMENT: Final = "\ufffd"
#: What joulebench writes beside ASCII, for terminals that have no Unicode.
_SPELT_OUT: Final = str.maketrans(
    {
        "±": "+-",
        "×": "x",
        "·": "|",
        "–": "-",
        "—": "-",
        "─": "-",
        "…": "...",
        "≈": "~",
        "≤": "<=",
        "≥": ">=",
        "→": "->",
        "←": "<-",
        "Δ": "d",
        "Σ": "sum ",
        "µ": "u",
        "σ": "sigma",
        "°": "deg ",
        "²": "^2",
        "“": '"',
        "”": '"',
        "’": "'",
    }
)


def harmless(text: str) -> str:
    """The text without characters that steer a terminal, each replaced by U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return _EITHER.sub(lambda match: match[1] or _REPLACEMENT, text)


def encodable(text: str, encoding: str) -> str:
    """The text as an encoding can show it: our own signs spelt out, other characters as ``?``."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_SPELT_OUT).encode(encoding, "replace").decode(encoding)
    return text


class GuardedStream:
    """A text stream whose writes pass through :func:`harmless` and :func:`encodable`.

    Everything else is the stream's.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text; bytes are refused, as by every text stream."""
        if not isinstance(text, str):
            raise TypeError("a text stream takes text")
        self.stream.write(encodable(harmless(text), self._encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def guarded_output() -> Iterator[None]:
    """Guard standard output and error while a command runs."""
    output, errors = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = GuardedStream(output), GuardedStream(errors)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = output, errors


def write_document(content: str | bytes, output: Path | None = None) -> None:
    """A report into a file, or to standard output: as it is into a pipe, guarded on a terminal.

    Raises :class:`SessionError` where the file cannot be written.
    """
    if output is not None:
        try:
            output.write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise SessionError(f"cannot be written: {error.strerror}", where=str(output)) from None
        click.echo(f"wrote {output}", err=True)
    elif isinstance(content, bytes):
        click.echo(content, nl=False)
    else:
        stream = sys.stdout
        if isinstance(stream, GuardedStream) and not stream.isatty():
            stream = stream.stream
            content = encodable(content, stream.encoding or "utf-8")
        stream.write(content if content.endswith("\n") else content + "\n")
        stream.flush()
