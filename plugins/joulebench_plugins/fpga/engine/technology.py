"""Which cells the engine's multipliers become."""

from __future__ import annotations

from typing import Literal

#: ``generic`` leaves the choice of cells to the synthesis; it is what is simulated. ``ecp5`` names
#: Lattice's multiplier, whose own registers yosys does not use by itself.
Technology = Literal["generic", "ecp5"]
