"""A folder in place of /sys/class, for libraries that have its path built in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def in_place_of_sysfs(folder: Path, command: Sequence[str]) -> list[str]:
    """The command in a mount namespace where the folder stands for /sys/class; skips where there can be none."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        pytest.skip("putting a tree at /sys/class takes root and unshare")
    if subprocess.run(
        [unshare, "-m", "mount", "--bind", folder, "/sys/class"], capture_output=True, check=False
    ).returncode:
        pytest.skip("mount namespaces are not allowed here")
    script = 'mount --bind "$1" /sys/class && shift && exec "$@"'
    return [unshare, "-m", "sh", "-c", script, "sh", str(folder), *command]
