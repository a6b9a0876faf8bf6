"""What the engine takes of a real FPGA, and how fast its clock can be, by open tools.

An optional extra (``fpga-synthesis``: yosys and nextpnr as WebAssembly). Figures of the shipped
sizes are kept in ``results.toml``, so that a device's clock has a source without it.
"""

from __future__ import annotations

from joulebench_plugins.fpga.synthesis.flow import available, synthesise
from joulebench_plugins.fpga.synthesis.parts import PARTS, FpgaPart
from joulebench_plugins.fpga.synthesis.results import Clock, Synthesis, shipped, shipped_clock

__all__ = ["PARTS", "Clock", "FpgaPart", "Synthesis", "available", "shipped", "shipped_clock", "synthesise"]
