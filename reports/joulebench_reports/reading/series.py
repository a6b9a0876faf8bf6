"""A cell's blocks as the comparison of cells takes them: in order, with work, turn and process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from joulebench.api import PROVENANCES, Provenance
from joulebench.meter.comparison import CellBlocks
from joulebench_reports.reading.blocks import BlockEnergy, BlockSums, block_energies, energy_rows, read_blocks
from joulebench_reports.words.units import shown_unit

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session

#: A quantity of a block; ``None`` where the block does not have it.
Part = Callable[[BlockSums], float | None]


@dataclass(frozen=True, slots=True)
class CellSeries:
    """The blocks of one cell and their gross energies by provenance and block number."""

    blocks: Sequence[BlockSums]
    energies: Mapping[Provenance, Mapping[int, BlockEnergy]]

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
        usable = [
            (block, top, bottom)
            for block in self.blocks
            if (top := above(block)) is not None and (bottom := below(block)) is not None and bottom > 0
        ]
        if not usable:
            return None
        blocks = [block for block, _, _ in usable]
        rounds = [block.round for block in blocks if block.round is not None]
        starts = [block.start_s for block in blocks if block.start_s is not None]
        placed = len(rounds) == len(starts) == len(blocks)
        return CellBlocks(
            [top for _, top, _ in usable],
            [bottom for _, _, bottom in usable],
            rounds if placed else None,
            [block.process for block in blocks],
            starts if placed else None,
        )


def read_series(session: Session, cell_id: str, unit: str) -> CellSeries:
    """The series of a cell of a session; ``unit`` is its unit of work."""
    return _series(session, cell_id, unit, session.table("requests", cell_id))


def read_energies(session: Session, cell_id: str, unit: str) -> CellSeries:
    """The same without the times of phases and first tokens: requests, the largest table of
    these, are not read."""
    from joulebench.session.schema import REQUESTS

    return _series(session, cell_id, unit, REQUESTS.empty_table())


def _series(session: Session, cell_id: str, unit: str, requests: pa.Table) -> CellSeries:
    energy = session.table("energy", cell_id)
    by_provenance: dict[Provenance, Mapping[int, BlockEnergy]] = {}
    for provenance in PROVENANCES:
        rows = energy_rows(energy, provenance, "total")
        if rows.num_rows:
            by_provenance[provenance] = block_energies(rows)
    blocks = session.table("blocks", cell_id)
    return CellSeries(read_blocks(blocks, requests, shown_unit(unit).per), by_provenance)
