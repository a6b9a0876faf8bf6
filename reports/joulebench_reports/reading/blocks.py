"""Per-block sums out of a cell's rows. Null in any part makes a block's sum null."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from joulebench_reports.reading.rows import StoredBlock, StoredEnergy, StoredRequest
from joulebench_reports.values.series import BlockEnergy, BlockSums


def read_blocks(blocks: Sequence[StoredBlock], requests: Sequence[StoredRequest], per: float = 1.0) -> list[BlockSums]:
    """The blocks of one cell that count, in the order in which they ran; work in ``per`` units of it."""
    # Seconds of simulated hardware, where the blocks have them; this machine's are the simulator's.
    simulated = is_simulated(blocks)
    by_block: dict[int, list[StoredRequest]] = {}
    for request in requests:
        by_block.setdefault(request.block, []).append(request)
    sums: list[BlockSums] = []
    for row in last_of_rounds(blocks):
        own = by_block.get(row.block, ())
        if simulated:
            times = [(request.device_prefill_s, request.device_decode_s, request.device_ttft_s) for request in own]
        else:
            times = [(request.prefill_s, request.decode_s, request.ttft_s) for request in own]
        prefill, decode, first_token = zip(*times, strict=True) if times else ((), (), ())
        first_tokens = [ttft_s for ttft_s in first_token if ttft_s is not None]
        ends = (row.temperature_start_c, row.temperature_end_c)
        sums.append(
            BlockSums(
                number=row.block,
                process=row.process or 0,
                duration_s=row.device_s if simulated else row.duration_s,
                units=None if row.units is None else row.units / per,
                prefill_tokens=row.prefill_tokens,
                decode_tokens=row.decode_tokens,
                prefill_s=_sum(prefill),
                decode_s=_sum(decode),
                ttft_s=statistics.median(first_tokens) if first_tokens else None,
                requests=row.requests or 0,
                round=row.round,
                start_s=None if row.start_utc is None else row.start_utc.timestamp(),
                temperature_c=max((end for end in ends if end is not None), default=None),
                worker_cpu_s=row.worker_cpu_s,
                flags=tuple(row.flags or ()),
                host_s=row.duration_s if simulated else None,
                sequences=own[0].sequences or 1 if own else 1,
            )
        )
    return sums


def is_simulated(blocks: Sequence[StoredBlock]) -> bool:
    """Whether any block has seconds of simulated hardware."""
    return any(row.device_s is not None for row in blocks)


def last_of_rounds(blocks: Iterable[StoredBlock]) -> list[StoredBlock]:
    """The blocks that count, in their order: of a round whose block was repeated, the last repeat."""
    ordered = sorted(blocks, key=lambda row: (row.t0_ns, row.block))
    places: dict[object, int] = {}
    for place, row in enumerate(ordered):
        places[place if row.round is None else ("round", row.round)] = place
    return ordered if len(places) == len(ordered) else [ordered[place] for place in sorted(places.values())]


def energy_rows(energy: Iterable[StoredEnergy]) -> dict[tuple[str, str], list[StoredEnergy]]:
    """The rows that enter sums, those of counted channels, by provenance and phase."""
    rows: dict[tuple[str, str], list[StoredEnergy]] = {}
    for row in energy:
        if row.counted:
            rows.setdefault((row.provenance, row.phase), []).append(row)
    return rows


def block_energies(rows: Sequence[StoredEnergy]) -> dict[int, BlockEnergy]:
    """Sums over channels by block; a block that lacks a channel of the others is null."""
    channels = len({row.channel for row in rows} - {None})
    by_block: dict[int, list[StoredEnergy]] = {}
    for row in rows:
        by_block.setdefault(row.block, []).append(row)
    nothing = BlockEnergy(None, None, None, None)
    return {block: _energy(own) if len(own) == channels else nothing for block, own in by_block.items()}


def _energy(rows: Sequence[StoredEnergy]) -> BlockEnergy:
    if len(rows) == 1:
        (row,) = rows
        variance = _idle_variance(row)
        return BlockEnergy(row.gross_j, row.net_j, row.attributed_j, None if variance is None else math.sqrt(variance))
    # Channels are separate sensors, so their terms add in squares.
    variance = _sum([_idle_variance(row) for row in rows])
    return BlockEnergy(
        gross_j=_sum([row.gross_j for row in rows]),
        net_j=_sum([row.net_j for row in rows]),
        attributed_j=_sum([row.attributed_j for row in rows]),
        idle_u_j=None if variance is None else math.sqrt(variance),
    )


def _idle_variance(row: StoredEnergy) -> float | None:
    """Where the sensor's update period is unknown, the uncertainty of the net energy is the idle power's alone."""
    return None if row.net_u_j is None else max(row.net_u_j**2 - (row.gross_u_j or 0.0) ** 2, 0.0)


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum; null of nothing, and where any part is."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total if values else None


def flag_names(rows: Iterable[StoredEnergy]) -> tuple[str, ...]:
    """All flags of the rows, sorted."""
    return tuple(sorted({flag for row in rows for flag in row.flags or () if flag is not None}))


def distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    """The values, sorted, without null."""
    return tuple(sorted({value for value in values if value is not None}))
