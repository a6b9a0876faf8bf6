"""The bad plugins of ``tests/bad_plugins`` on a path, installed by their metadata alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

BAD_PLUGINS: Final = Path(__file__).parents[1] / "bad_plugins"
#: The twelve, by what is wrong with them.
TWELVE: Final = (
    "crash-at-import",
    "crash-at-open",
    "crash-in-step",
    "hang",
    "wrong-unit",
    "leak",
    "prints",
    "duplicate",
    "old-api",
    "wrong-types",
    "never-available",
    "slow-import",
)


def install(site: Path, distribution: str, *entry_points: str) -> None:
    """A distribution whose entry points name modules in ``site``, as an installer leaves it."""
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\nRequires-Dist: joulebench\nRequires-Dist: numpy\n"
    )
    lines = [f"{name} = {name.replace('-', '_')}" for name in entry_points]
    (info / "entry_points.txt").write_text("[joulebench]\n" + "\n".join(lines) + "\n")


def bad_site(folder: Path, *entry_points: str) -> dict[str, str]:
    """The environment of a command that finds these bad plugins, and the good one beside them."""
    shutil.copytree(BAD_PLUGINS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    install(folder, "joulebench-bad", *entry_points)
    install(folder, "joulebench-good", "good")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "JOULEBENCH_CACHE": str(folder / "cache")}
