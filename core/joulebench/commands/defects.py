"""A defect that a command meets: named as one, with its traceback kept for whoever mends it."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Final

from joulebench.backendkit import cache_folder
from joulebench.errors import DefectError
from joulebench.version import __version__

#: Where tracebacks lie in the user's cache.
_FOLDER: Final = "defects"


def defect_of(error: BaseException, distribution: str, doing: str) -> DefectError:
    """What to say of an exception that nobody foresaw, in code of a distribution; ``doing`` is what failed."""
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(innermost.filename).name}, line {innermost.lineno}"
    return DefectError(
        f"{doing} failed by a defect of {distribution} ({place}: {type(error).__name__}: {error})",
        hint=f"please report it with the traceback in {_kept(error)} (--debug prints it); "
        "'joulebench session verify' tells whether the session is damaged",
    )


def _kept(error: BaseException) -> Path:
    about = f"joulebench {__version__}, Python {platform.python_version()}: {' '.join(sys.argv)}\n\n"
    text = about + "".join(traceback.format_exception(error))
    name = f"{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime())}-{time.time_ns() % 1_000_000_000:09d}.txt"
    for folder in (cache_folder() / _FOLDER, Path(tempfile.gettempdir())):
        file = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return file
    return Path("no file, since none could be written")
