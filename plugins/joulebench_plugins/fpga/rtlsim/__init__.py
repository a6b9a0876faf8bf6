"""The engine's RTL, run: compiled to C++ for whole models, interpreted for small tests.

Light to import; Amaranth, yosys, numpy and the compiler are used when something is built or run.
"""

from __future__ import annotations

from joulebench_plugins.fpga.rtlsim.building import available, build
from joulebench_plugins.fpga.rtlsim.checking import Mismatch, check_gemv
from joulebench_plugins.fpga.rtlsim.compiled import RtlEngine
from joulebench_plugins.fpga.rtlsim.interpreted import InterpretedEngine
from joulebench_plugins.fpga.rtlsim.running import GemvEngine, GemvRun

__all__ = ["GemvEngine", "GemvRun", "InterpretedEngine", "Mismatch", "RtlEngine", "available", "build", "check_gemv"]
