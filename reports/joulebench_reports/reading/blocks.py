"""Per-block sums out of a cell's Arrow tables. Null in any part makes a block's sum null."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joulebench_reports.values.figures import DISTURBED

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class BlockSums:
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

    @property
    def disturbed(self) -> bool:
        """Whether other processes or the clock disturbed it."""
        return not DISTURBED.isdisjoint(self.flags)


@dataclass(frozen=True, slots=True)
class BlockEnergy:
    """A block's energy of one provenance and phase, summed over the counted channels.

    ``idle_u_j`` is the standard uncertainty of the idle energy taken off for the net: the same
    baseline for all blocks of a cell.
    """

    gross_j: float | None
    net_j: float | None
    attributed_j: float | None
    idle_u_j: float | None


def read_blocks(blocks: pa.Table, requests: pa.Table, per: float = 1.0) -> list[BlockSums]:
    """The blocks of one cell that count, in the order in which they ran; work in ``per`` units of it."""
    # Seconds of simulated hardware, where the blocks have them; this machine's are the simulator's.
    simulated = blocks["device_s"].null_count < blocks.num_rows
    base = "device_" if simulated else ""
    times = _sums(requests, [f"{base}{name}" for name in ("prefill_s", "decode_s")])
    first_tokens = _medians(requests, f"{base}ttft_s")
    ordered = last_of_rounds(blocks)
    columns = [
        "block",
        "process",
        "round",
        "start_utc",
        "duration_s",
        "device_s",
        "units",
        "prefill_tokens",
        "decode_tokens",
        "requests",
        "temperature_start_c",
        "temperature_end_c",
        "worker_cpu_s",
        "flags",
    ]
    result: list[BlockSums] = []
    for row in ordered.select(columns).to_pylist():
        spent = times.get(row["block"], {})
        ends = (row["temperature_start_c"], row["temperature_end_c"])
        result.append(
            BlockSums(
                number=row["block"],
                process=row["process"] or 0,
                duration_s=row["device_s"] if simulated else row["duration_s"],
                units=None if row["units"] is None else row["units"] / per,
                prefill_tokens=row["prefill_tokens"],
                decode_tokens=row["decode_tokens"],
                prefill_s=spent.get(f"{base}prefill_s"),
                decode_s=spent.get(f"{base}decode_s"),
                ttft_s=first_tokens.get(row["block"]),
                requests=row["requests"] or 0,
                round=row["round"],
                start_s=None if row["start_utc"] is None else row["start_utc"].timestamp(),
                temperature_c=max((end for end in ends if end is not None), default=None),
                worker_cpu_s=row["worker_cpu_s"],
                flags=tuple(row["flags"] or ()),
                host_s=row["duration_s"] if simulated else None,
            )
        )
    return result


def last_of_rounds(blocks: pa.Table) -> pa.Table:
    """The blocks that count, in their order: of a round whose block was repeated, the last repeat."""
    import pyarrow as pa

    ordered = blocks.sort_by([("t0_ns", "ascending"), ("block", "ascending")])
    places: dict[object, int] = {}
    for place, number in enumerate(ordered["round"].to_pylist()):
        places[place if number is None else ("round", number)] = place
    return ordered if len(places) == ordered.num_rows else ordered.take(pa.array(sorted(places.values())))


def of_blocks(table: pa.Table, blocks: Sequence[BlockSums]) -> pa.Table:
    """The rows of a table that belong to these blocks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pa.array([block.number for block in blocks], table.schema.field("block").type)
    return table.filter(pc.is_in(table["block"], value_set=numbers))


def energy_rows(energy: pa.Table, provenance: str, phase: str) -> pa.Table:
    """The rows that enter the sum: counted channels of one provenance and phase."""
    import pyarrow.compute as pc

    mask = pc.and_(
        pc.and_(pc.equal(energy["phase"], phase), pc.equal(energy["provenance"], provenance)),
        pc.equal(energy["counted"], True),
    )
    return energy.filter(mask)


def block_energies(rows: pa.Table) -> dict[int, BlockEnergy]:
    """Sums over channels by block; a block that lacks a channel of the others is null."""
    import pyarrow.compute as pc

    if rows.num_rows == 0:
        return {}
    channels = pc.count_distinct(rows["channel"]).as_py()
    # Where the sensor's update period is unknown, the uncertainty of the net energy is the idle power's alone.
    gross_u2 = pc.coalesce(pc.power(rows["gross_u_j"], 2), 0.0)
    idle_u2 = pc.max_element_wise(pc.subtract(pc.power(rows["net_u_j"], 2), gross_u2), 0.0, skip_nulls=False)
    squared = rows.append_column("idle_u2", idle_u2)
    result: dict[int, BlockEnergy] = {}
    for block, sums in _sums(squared, ("gross_j", "net_j", "attributed_j", "idle_u2")).items():
        whole = sums["rows"] == channels
        result[block] = BlockEnergy(
            gross_j=sums["gross_j"] if whole else None,
            net_j=sums["net_j"] if whole else None,
            attributed_j=sums["attributed_j"] if whole else None,
            # Channels are separate sensors, so their terms add in squares.
            idle_u_j=_root(sums["idle_u2"]) if whole else None,
        )
    return result


def _root(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(variance)


def _sums(table: pa.Table, columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Sum of each column by block, null where any row is null, and the number of rows."""
    import pyarrow.compute as pc

    if table.num_rows == 0:
        return {}
    strict = pc.ScalarAggregateOptions(skip_nulls=False)
    # Small tables: threads would take longer to start than the sums take.
    grouped = table.group_by("block", use_threads=False).aggregate(
        [(column, "sum", strict) for column in columns] + [([], "count_all")]
    )
    return {
        row["block"]: {"rows": row["count_all"], **{column: row[f"{column}_sum"] for column in columns}}
        for row in grouped.to_pylist()
    }


def _medians(table: pa.Table, column: str) -> dict[int, float]:
    """The median of a column by block, over the rows that have it."""
    values: dict[int, list[float]] = {}
    for block, value in zip(table["block"].to_pylist(), table[column].to_pylist(), strict=True):
        if value is not None:
            values.setdefault(block, []).append(value)
    return {block: statistics.median(value) for block, value in values.items()}


def flag_names(rows: pa.Table) -> tuple[str, ...]:
    """All flags of a table's ``flags`` column, sorted."""
    import pyarrow.compute as pc

    flat = pc.list_flatten(rows["flags"])
    return tuple(sorted(name for name in pc.unique(flat).to_pylist() if name is not None))


def distinct(rows: pa.Table, column: str) -> tuple[str, ...]:
    """The values of a text column, sorted, without null."""
    import pyarrow.compute as pc

    return tuple(sorted(v for v in pc.unique(rows[column]).to_pylist() if v is not None))
