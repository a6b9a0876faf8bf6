"""What a report makes of cells whose hardware is simulated: their own time base, ranges, words.

Their seconds and joules are the device's, by a model. This machine's seconds say how long the
simulation took; its joules and its memory are the simulator's and stand in no figure of the cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from joulebench.api import Provenance
from joulebench_reports.reading.blocks import is_simulated, read_blocks
from joulebench_reports.reading.rows import StoredCell, StoredEnergy
from joulebench_reports.reading.speed import summarise_speed
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary, EnergySummary, Memory, Speed
from joulebench_reports.values.series import BlockSums
from joulebench_reports.words.text import plain, seconds
from joulebench_reports.words.units import shown_unit

#: Why a comparison of two cells says nothing.
RANGES: Final = "both are computed from ranges of inputs, without scatter"
#: Why a cell is no advice for this machine.
ELSEWHERE: Final = "its hardware is simulated, not this machine"
_METHOD: Final = "model; ratio of sums; low and high by the ranges of its inputs"
#: Flags of repetition and of this machine, which say nothing of a computed figure.
_KEPT_FLAGS: Final = ("input_range", "no_energy_model", "time_budget", "resumed", "disagrees", "unfinished")


def with_device_time(cell: CellSummary, stored: StoredCell) -> CellSummary:
    """The cell in its own time base; unchanged where nothing is simulated."""
    if not is_simulated(stored.blocks):
        return cell
    unit = shown_unit(cell.unit)
    read = read_blocks(stored.blocks, stored.requests, unit.per)
    first_tokens_s = [request.device_ttft_s for request in stored.requests]
    energies = tuple(_with_ranges(figures, stored.energy, read) for figures in cell.energy)
    headline = next((energy.gross for energy in energies if energy.gross.value is not None), None)
    return replace(
        cell,
        energy=energies,
        headline=cell.headline if headline is None else headline,
        headline_net=replace(_bare(cell.headline_net), reason_if_null=_NO_NET),
        speed=_device_speed(summarise_speed(read, first_tokens_s, unit)),
        memory=_device_memory(cell.memory),
        temperature_max_c=None,
        flags=tuple(count for count in cell.flags if count.flag in _KEPT_FLAGS),
        time_base="device",
        simulation_s=math.fsum(block.host_s for block in read if block.host_s is not None),
    )


_NO_NET: Final = "the device's idle power is part of its model, not a baseline of this machine"


def _with_ranges(summary: EnergySummary, energy: Sequence[StoredEnergy], blocks: Sequence[BlockSums]) -> EnergySummary:
    """The summary with ranges in place of intervals, where the energy rows have ranges.

    The scatter between blocks is that of their prompts: another run would give the same again.
    """
    if all(row.gross_low_j is None for row in energy):
        return summary
    bounds = _bounds(energy)

    def of(figure: Figure, phase: str, work: str) -> Figure:
        return _ranged(figure, bounds.get(phase, {}), blocks, work)

    names = {"prefill": "prefill_tokens", "decode": "decode_tokens"}
    return replace(
        summary,
        gross=of(summary.gross, "total", "units"),
        gross_with_scale=of(summary.gross_with_scale, "total", "units"),
        mean_of_ratios=_bare(summary.mean_of_ratios),
        without_flagged=_bare(summary.without_flagged),
        power_w=of(summary.power_w, "total", "duration_s"),
        phases=tuple((name, of(figure, name, names.get(name, "units"))) for name, figure in summary.phases),
    )


_Bounds = Mapping[int, tuple[float | None, float | None]]


def _bounds(energy: Sequence[StoredEnergy]) -> dict[str, dict[int, tuple[float | None, float | None]]]:
    """Minimum and maximum energy by phase and block."""
    bounds: dict[str, dict[int, tuple[float | None, float | None]]] = {}
    for row in energy:
        if row.counted and row.provenance == "simulated":
            bounds.setdefault(row.phase, {})[row.block] = (row.gross_low_j, row.gross_high_j)
    return bounds


def _ranged(figure: Figure, bounds: _Bounds, blocks: Sequence[BlockSums], work: str) -> Figure:
    done = [(bounds.get(block.number, (None, None)), getattr(block, work)) for block in blocks]
    known = [(low, high, amount) for (low, high), amount in done if low is not None and high is not None and amount]
    if figure.value is None or len(known) != len(blocks):
        return _bare(figure)
    total = math.fsum(amount for _, _, amount in known)
    return replace(
        figure,
        low=math.fsum(low for low, _, _ in known) / total,
        high=math.fsum(high for _, high, _ in known) / total,
        method=_METHOD,
        flags=tuple(flag for flag in figure.flags if flag == "input_range"),
        is_range=True,
    )


def _bare(figure: Figure) -> Figure:
    """Without the interval and the flags of repetition: it would come out the same again."""
    kept = tuple(flag for flag in figure.flags if flag == "input_range")
    return replace(figure, low=None, high=None, flags=kept)


def _device_speed(speed: Speed) -> Speed:
    """Speeds of simulated hardware: marked, and without an interval over blocks."""
    changed: dict[str, Any] = {}
    for field in fields(Speed):
        figure: Figure = getattr(speed, field.name)
        method = f"{figure.method}, in seconds of the device" if figure.method else ""
        provenance: Provenance | None = None if figure.value is None else "simulated"
        changed[field.name] = replace(_bare(figure), provenance=provenance, method=method)
    return Speed(**changed)


def _device_memory(memory: Memory) -> Memory:
    """Only what the device holds: the process that simulates it is no part of it."""
    host = {field.name: None for field in fields(Memory) if field.name.startswith(("rss_", "pss_"))}
    return replace(memory, **host)


def notes(cells: Sequence[CellSummary]) -> list[tuple[str, str]]:
    """Term and text of what a reader must know of each simulated cell."""
    lines: list[tuple[str, str]] = []
    simulated = [cell for cell in cells if cell.simulated]
    if simulated:
        lines.append(
            (
                "simulated",
                "speed and energy of these cells are computed for hardware that is not here and are "
                "compared with no measured or estimated figure; [low, high] is what the ranges of the "
                "model's inputs allow, no statistical interval",
            )
        )
    for cell in simulated:
        parts = [
            str(cell.facts.get("hardware") or "simulated hardware"),
            f"evidence: {cell.facts['evidence']}" if cell.facts.get("evidence") else "",
            f"not modelled: {cell.facts['not_modelled']}" if cell.facts.get("not_modelled") else "",
            f"simulation took {seconds(cell.simulation_s)} on this machine",
        ]
        lines.append((cell.label, plain("; ".join(part for part in parts if part))))
    return lines
