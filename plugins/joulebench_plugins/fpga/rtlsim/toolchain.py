"""The C++ compiler of this machine, and the processor that it compiles for."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.errors import UnavailableError
from joulebench_plugins.fpga.tools import run_tool

#: C++ compilers by name, the first found is used; the environment variable CXX comes before them.
_COMPILERS: Final = ("c++", "g++", "clang++")
#: Flags for the generated code, which is one function of thousands of lines.
FLAGS: Final = ("-std=c++17", "-O3", "-march=native", "-w", "-fPIC")
COMPILER_CURE: Final = (
    "install a C++ compiler (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++) or name "
    "one in the environment variable CXX"
)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C++ compiler: how it is called and what it says of its version."""

    command: tuple[str, ...]
    version: str


def compiler_command() -> tuple[str, ...] | None:
    """How the C++ compiler is called, or ``None`` where there is none. Starts nothing."""
    asked = shlex.split(os.environ.get("CXX", ""))
    if asked:
        return tuple(asked) if shutil.which(asked[0]) else None
    return next(((name,) for name in _COMPILERS if shutil.which(name)), None)


def find_compiler() -> Compiler:
    """The C++ compiler; raises :class:`UnavailableError` where there is none."""
    command = compiler_command()
    if command is None:
        asked = os.environ.get("CXX")
        what = (
            f"the compiler that CXX names, '{asked}', is not found"
            if asked
            else "there is no C++ compiler, which the simulation of the engine is compiled with"
        )
        raise UnavailableError(what, hint=COMPILER_CURE)
    version = run_tool([*command, "--version"], Path.cwd())
    return Compiler(command, version.splitlines()[0] if version else "unknown")


def processor() -> str:
    """What ``-march=native`` depends on: a library for one processor may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    keys = ("model name", "flags", "Features", "CPU part")
    first = {line.partition(":")[0].strip(): line for line in reversed(lines)}
    return "\n".join([platform.machine(), *(first[key] for key in keys if key in first)])
