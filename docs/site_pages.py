"""Fits these pages into the site that ``mkdocs.yml`` describes: what MkDocs calls while it builds.

README.md and CHANGELOG.md stand beside this folder and belong to the site. Tests read words behind a
fence's language (``toml plan``), which MkDocs would take for no fence at all.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

_ROOT: Final = Path(__file__).parent.parent
#: Files outside of this folder, by their names in the site.
_BESIDE: Final = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "LICENSE": "LICENSE.txt"}
_FENCE: Final = re.compile(r"^```(\S+) [^\n]+$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Adds the files beside this folder."""
    for name, place in _BESIDE.items():
        text = (_ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=_moved(text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with fences that have a language alone."""
    return _FENCE.sub(r"```\1", markdown)


def _moved(text: str) -> str:
    """A file of the repository's root with the links that it needs in this folder."""
    for name, place in _BESIDE.items():
        text = text.replace(f"]({name})", f"]({place})")
    return text.replace("](docs/", "](")
