"""A cell's blocks with their energies, in order: what figures, and comparisons of cells, are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from joulebench.api import Provenance
from joulebench.meter.comparison import CellBlocks

#: Blocks that were disturbed: the report shows the energy with and without them.
DISTURBED = frozenset({"contended", "throttled"})


class BlockSums(NamedTuple):
    """One block, with the request times that the block table does not hold; TTFT is their median.

    ``round`` and ``start_s`` (UTC, seconds since 1970) say which turns were taken side by side.
    """

    number: int
    process: int
    duration_s: float | None
    units: float | None
    prefill_tokens: float | None
    decode_tokens: float | None
    prefill_s: float | None
    decode_s: float | None
    ttft_s: float | None
    requests: int
    round: int | None
    start_s: float | None
    temperature_c: float | None
    worker_cpu_s: float | None
    flags: tuple[str, ...]
    #: Of a block of simulated hardware: what simulating took on this machine, in s. All other
    #: times are then the hardware's own.
    host_s: float | None = None
    #: Read and written at once; the tokens are those of all of them.
    sequences: int = 1

    @property
    def decode_steps(self) -> float | None:
        """Tokens of one sequence after the first."""
        return None if self.decode_tokens is None else self.decode_tokens / self.sequences

    @property
    def disturbed(self) -> bool:
        """Whether other processes or the clock disturbed it."""
        return not DISTURBED.isdisjoint(self.flags)


class BlockEnergy(NamedTuple):
    """A block's energy of one provenance and phase, summed over the counted channels.

    ``idle_u_j`` is the standard uncertainty of the idle energy taken off for the net: the same
    baseline for all blocks of a cell.
    """

    gross_j: float | None
    net_j: float | None
    attributed_j: float | None
    idle_u_j: float | None


#: A quantity of a block; ``None`` where the block does not have it.
Part = Callable[[BlockSums], float | None]


@dataclass(frozen=True, slots=True)
class CellSeries:
    """The blocks of one cell that count, and their energies by provenance and block number."""

    blocks: Sequence[BlockSums] = ()
    energies: Mapping[Provenance, Mapping[int, BlockEnergy]] = field(default_factory=dict)

    def energy(self, provenance: Provenance) -> CellBlocks | None:
        """Joules and the work done for them; ``None`` without a block that has both."""
        return self.ratio(self.joules(provenance), lambda block: block.units)

    def joules(self, provenance: Provenance) -> Part:
        """Gross joules of a block."""
        sums = self.energies.get(provenance, {})

        def of(block: BlockSums) -> float | None:
            energy = sums.get(block.number)
            return None if energy is None else energy.gross_j

        return of

    def ratio(self, above: Part, below: Part) -> CellBlocks | None:
        """Two quantities whose ratio of sums is a figure; blocks that lack one are left out."""
        pairs = [
            (block, top, bottom)
            for block in self.blocks
            if (top := above(block)) is not None and (bottom := below(block)) is not None and bottom > 0
        ]
        if not pairs:
            return None
        blocks = [block for block, _, _ in pairs]
        rounds = [block.round for block in blocks if block.round is not None]
        starts = [block.start_s for block in blocks if block.start_s is not None]
        placed = len(rounds) == len(starts) == len(blocks)
        return CellBlocks(
            [top for _, top, _ in pairs],
            [bottom for _, _, bottom in pairs],
            rounds if placed else None,
            [block.process for block in blocks],
            starts if placed else None,
        )
