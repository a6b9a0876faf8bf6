"""Wheels, fake interpreters and environments, made by hand: nothing is fetched for them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from joulebench.version import __version__

PLUGIN = '''
from pathlib import Path
from joulebench.api import ArtifactTechnique, Availability, Environment, distribution_versions
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1

class Shout(ArtifactTechnique):
    """Writes what the package in its environment makes of a text."""
    name, stage, accepts, produces = "shout", "checkpoint", "hf", "hf"
    summary = "shouts"
    environment_needs = Environment("shouting", ({requirement!r},), inherits={inherits})

    def available(self):
        if "tinydep" in distribution_versions(["tinydep"]):
            return Availability.yes()
        return Availability.no("not installed: tinydep", "joulebench env create shouting")

    def versions(self):
        return distribution_versions(["tinydep"])

    def apply(self, source, output, settings):
        import tinydep
        (output / "text").write_text(tinydep.shout((source / "text").read_text()))

    def evidence(self, before, after, settings):
        import sys
        return {{"prefix": sys.prefix}}

@hookimpl
def joulebench_techniques():
    return [Shout]
'''


def wheel(folder: Path, name: str, version: str, modules: dict[str, str], **more: str) -> Path:
    """A wheel of pure Python; ``more`` are further files of its dist-info."""
    info = f"{name}-{version}.dist-info"
    files = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **{f"{info}/{key}": text for key, text in more.items()},
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def shouting_site(folder: Path, requirement: str | None = None, inherits: bool = False) -> Path:
    """A folder for PYTHONPATH with a plugin whose technique needs an environment."""
    tiny = wheel(folder, "tinydep", "1.0", {"tinydep.py": "def shout(text):\n    return text.upper() + '!'\n"})
    wanted = requirement or f"tinydep @ {tiny.as_uri()}"
    plugin = wheel(
        folder,
        "shouter",
        "1.0",
        {"shouter.py": PLUGIN.format(requirement=wanted, inherits=inherits)},
        **{"entry_points.txt": "[joulebench]\nshouter = shouter\n"},
    )
    site = folder / "site-packages"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            "--disable-pip-version-check",
            "--target",
            str(site),
            str(plugin),
        ],
        check=True,
    )
    return site


def program(path: Path, text: str) -> Path:
    """A shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def finished(root: Path, name: str, requirements: tuple[str, ...], /, **changes: object) -> Path:
    """An environment as a finished creation leaves it, with this very interpreter in it."""
    folder = root / "environments" / f"{name}.0badcafe"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    record = {
        "name": name,
        "folder": folder.name,
        "requirements": list(requirements),
        "joulebench": __version__,
        "python": "3.11.2",
        "seconds": 1.0,
        **changes,
    }
    (root / "environments" / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder
