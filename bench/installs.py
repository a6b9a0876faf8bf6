"""What each extra takes to install: seconds, processor seconds and disk, alone in a new venv.

Downloads and compiles, so it runs only when it is named. What pip has in its cache is used:
``PIP_NO_CACHE_DIR=1`` measures a first install.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
#: Sums of others, and what only developers need.
LEFT_OUT: Final = frozenset({"all", "test", "lint", "docs"})
#: As the Makefile has it: llama.cpp without what is not used.
CMAKE_ARGS: Final = (
    "-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF "
    "-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF"
)


def install(python: Path, what: str) -> tuple[float, float, int]:
    """(wall seconds, processor seconds, exit status) of ``pip install``."""
    environment = {**os.environ, "CMAKE_ARGS": os.environ.get("CMAKE_ARGS", CMAKE_ARGS)}
    start = time.monotonic()
    process = subprocess.Popen([str(python), "-m", "pip", "install", "--quiet", what], cwd=ROOT, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, process.returncode


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``, links not followed."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    print(f"{'extra':18}{'wall s':>8}{'CPU s':>8}{'MB more':>9}   on top of the bare package")
    for extra in ["", *(extra for extra in extras if extra not in LEFT_OUT)]:
        with tempfile.TemporaryDirectory() as scratch:
            python = Path(scratch) / "bin" / "python"
            subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
            before = 0
            if extra:
                _, _, status = install(python, ".")
                before = disk_bytes(Path(scratch))
            wall_s, cpu_s, status = install(python, f".[{extra}]" if extra else ".")
            if status:
                print(f"{extra or '(bare)':18}pip failed with exit status {status}")
                continue
            more_mb = (disk_bytes(Path(scratch)) - before) / 1e6
            print(f"{extra or '(bare)':18}{wall_s:8.0f}{cpu_s:8.0f}{more_mb:9.0f}", flush=True)


if __name__ == "__main__":
    main()
