"""FPGAs that the open tools know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from joulebench.errors import ProfileError, unknown_name_hint
from joulebench_plugins.fpga.engine.technology import Technology


@dataclass(frozen=True, slots=True)
class FpgaPart:
    """One FPGA, or a family of which no single part is placed."""

    name: str
    description: str
    technology: Technology
    #: ``place-and-route`` gives resources and Fmax; ``resources`` has no placement, so no Fmax.
    kind: Literal["place-and-route", "resources"]
    #: yosys' command that maps to this part's cells, without ``-top`` and outputs.
    yosys: str
    #: What the part has, where one is placed: LUTs of 4 inputs, multipliers, block RAMs.
    capacity: Mapping[str, int]
    #: Options of nextpnr-ecp5 that name the part.
    nextpnr: tuple[str, ...] = ()


#: Capacities as nextpnr-ecp5 reports them for the part.
PARTS: Final[Mapping[str, FpgaPart]] = {
    part.name: part
    for part in (
        FpgaPart(
            name="ecp5-85f",
            description="Lattice LFE5U-85F, package CABGA381, speed grade 6",
            technology="ecp5",
            kind="place-and-route",
            yosys="synth_ecp5",
            capacity={"luts": 83_640, "ffs": 83_640, "dsps": 156, "brams": 208},
            nextpnr=("--85k", "--package", "CABGA381", "--speed", "6"),
        ),
        FpgaPart(
            name="xilinx-us+",
            description="AMD/Xilinx UltraScale+ (yosys family xcup), not placed",
            technology="generic",
            kind="resources",
            yosys="synth_xilinx -family xcup -flatten -noiopad",
            capacity={},
        ),
    )
}


def find_part(name: str) -> FpgaPart:
    """The part of that name; raises :class:`ProfileError` for another."""
    if name not in PARTS:
        raise ProfileError(f"no part '{name}'", where="part", hint=unknown_name_hint(name, PARTS))
    return PARTS[name]
