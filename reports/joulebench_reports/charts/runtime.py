"""The program that draws the page's charts: Vega, Vega-Lite and Vega-Embed in one text.

``vl_convert`` carries them and bundles them anew each time, which takes seconds; so the bundle of
each version is kept in the cache, with its hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from importlib import metadata
from pathlib import Path

_DISTRIBUTION = "vl-convert-python"


def chart_runtime() -> str | None:
    """The JavaScript, or ``None`` where ``joulebench[html]`` is not installed."""
    from joulebench.backendkit import cache_folder

    try:
        version = metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
    file = cache_folder() / "charts" / f"{_DISTRIBUTION}-{version}.js"
    kept = _kept(file)
    if kept is not None:
        return kept
    try:
        import vl_convert
    except ImportError:
        return None
    bundle = str(vl_convert.javascript_bundle())
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        _keep(file, bundle)
    return bundle


def _hash_file(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _kept(file: Path) -> str | None:
    """The bundle as it was kept; ``None`` where there is none, or half of it."""
    try:
        data, expected = file.read_bytes(), _hash_file(file).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return data.decode() if hashlib.sha256(data).hexdigest() == expected else None


def _keep(file: Path, bundle: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = bundle.encode()
    for target, content in ((file, data), (_hash_file(file), hashlib.sha256(data).hexdigest().encode())):
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(target)
