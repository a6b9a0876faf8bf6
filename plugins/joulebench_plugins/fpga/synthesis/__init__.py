"""What the engine takes of a real FPGA, and how fast its clock can be, by open tools.

An optional extra (``fpga-synthesis``: yosys and nextpnr as WebAssembly). Figures of the shipped
sizes are kept in ``results.toml``, so that a device's clock has a source without it.
"""
