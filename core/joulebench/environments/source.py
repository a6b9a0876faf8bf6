"""What pip needs to be told to install a distribution elsewhere as it is installed here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from joulebench.errors import InterpreterError


def pip_arguments(name: str) -> list[str]:
    """Arguments of ``pip install`` for the same distribution from the same source.

    A distribution that came from an index is pinned to the version that is here. One that came
    from elsewhere has a ``direct_url.json`` (PyPA specification "Recording the Direct URL Origin
    of installed distributions", PEP 610): a folder (editable or not), a file, or a repository at a
    commit. Raises :class:`InterpreterError` where that source is gone.
    """
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise InterpreterError(
            f"'{name}' is not installed as a distribution, so it cannot be installed elsewhere",
            hint="pip install it here first",
        ) from None
    origin = _origin(installed)
    if origin is None:
        return [f"{name}=={installed.version}"]
    url = str(origin["url"])
    repository = origin.get("vcs_info")
    if isinstance(repository, dict):
        return [f"{name} @ {repository['vcs']}+{url}@{repository['commit_id']}"]
    if urlsplit(url).scheme != "file":
        return [f"{name} @ {url}"]
    path = Path(url2pathname(urlsplit(url).path))
    if not path.exists():
        raise InterpreterError(
            f"'{name}' was installed from {path}, which is gone", hint=f"install {name} again from a place that stays"
        )
    folder = origin.get("dir_info")
    if isinstance(folder, dict) and folder.get("editable"):
        return ["-e", str(path)]
    return [str(path)]


def _origin(installed: metadata.Distribution) -> Mapping[str, Any] | None:
    """``direct_url.json``; ``None`` where there is none, or none that can be used."""
    try:
        origin = json.loads(installed.read_text("direct_url.json") or "null")
    except ValueError:
        return None
    return origin if isinstance(origin, dict) and "url" in origin else None
