"""A cell's energy by provenance: the sums of :mod:`.blocks` turned into figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from joulebench.api import PROVENANCES, Provenance
from joulebench.meter.margins import MARGINS_COUNTED
from joulebench_reports.reading import intervals
from joulebench_reports.reading.blocks import block_energies, distinct, energy_rows, flag_names
from joulebench_reports.reading.rows import StoredEnergy
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import ChannelReport, EnergySummary
from joulebench_reports.values.series import BlockEnergy, BlockSums
from joulebench_reports.words.flags import explain

Part = Callable[[BlockEnergy], float | None]


def read_energies(energy: Sequence[StoredEnergy], units: str, phases: Mapping[str, str]) -> list[CellEnergies]:
    """What each provenance has, in the order of trust; ``phases`` maps a phase to its count of work."""
    rows = energy_rows(energy)
    return [
        CellEnergies(
            provenance,
            distinct(row.channel for row in total),
            distinct(row.method for row in total),
            _maker(total, provenance, units),
            tuple(
                (phase, field, _maker(rows.get((provenance, phase), ()), provenance, "J/token"))
                for phase, field in phases.items()
            ),
        )
        for provenance in PROVENANCES
        if (total := rows.get((provenance, "total")))
    ]


@dataclass(frozen=True, slots=True)
class CellEnergies:
    """A cell's energies of one provenance by block: in total, and by phase with the field that counts its work."""

    provenance: Provenance
    channels: tuple[str, ...]
    methods: tuple[str, ...]
    total: EnergyMaker
    phases: tuple[tuple[str, str, EnergyMaker], ...]


def summarise_energy(
    energies: CellEnergies, blocks: Sequence[BlockSums], channels: Sequence[ChannelReport]
) -> EnergySummary:
    """The figures of one provenance, for one unit of the blocks' work."""
    calm = [block for block in blocks if not block.disturbed]
    used = [channel for channel in channels if channel.channel in energies.channels]
    total = energies.total
    power = total.mean_power(blocks)
    scale_u = _worst_scale(used, power.value)
    gross = total.ratio(blocks, "units", _gross)
    return EnergySummary(
        provenance=energies.provenance,
        channels=energies.channels,
        methods=energies.methods,
        gross=gross,
        gross_with_scale=gross if scale_u is None else total.ratio(blocks, "units", _gross, scale_u),
        net=total.ratio(blocks, "units", _net),
        attributed=_as_estimate(total.ratio(blocks, "units", _attributed)),
        mean_of_ratios=total.mean_ratio(blocks, "units", _gross),
        without_flagged=gross if len(calm) == len(blocks) else total.ratio(calm, "units", _gross),
        power_w=power,
        phases=tuple((phase, maker.ratio(blocks, field, _gross)) for phase, field, maker in energies.phases),
        scale_relative_uncertainty=scale_u,
        notes=tuple(dict.fromkeys(channel.note for channel in used if channel.note)),
    )


def _gross(part: BlockEnergy) -> float | None:
    return part.gross_j


def _net(part: BlockEnergy) -> float | None:
    return part.net_j


def _attributed(part: BlockEnergy) -> float | None:
    return part.attributed_j


def _maker(rows: Sequence[StoredEnergy], provenance: Provenance, unit: str) -> EnergyMaker:
    method = " + ".join(distinct(row.method for row in rows))
    return EnergyMaker(block_energies(rows), provenance, unit, method, flag_names(rows))


def _worst_scale(channels: Sequence[ChannelReport], power_w: float | None) -> float | None:
    """What the sensors' scales and offsets may make of a mean power, relative to it (1 σ)."""
    known = [c.relative_uncertainty for c in channels if c.relative_uncertainty is not None]
    offset_w = math.fsum(c.offset_u_w for c in channels if c.counted and c.offset_u_w is not None)
    if not offset_w or not power_w:
        return max(known, default=None)
    return math.hypot(max(known, default=0.0), offset_w / power_w)


def _as_estimate(figure: Figure) -> Figure:
    """A share by CPU time is never measured, whatever sensor it is a share of."""
    return replace(figure, provenance="estimated") if figure.provenance == "measured" else figure


_NOTHING = BlockEnergy(None, None, None, None)


class EnergyMaker:
    """Makes figures out of one set of block energies."""

    def __init__(
        self, sums: Mapping[int, BlockEnergy], provenance: Provenance, unit: str, method: str, flags: tuple[str, ...]
    ) -> None:
        self.sums = sums
        self.provenance = provenance
        self._unit = unit
        self._method = method
        self._flags = flags

    def ratio(self, blocks: Sequence[BlockSums], field: str, part: Part, scale_u: float | None = None) -> Figure:
        """Ratio of sums: energy over the blocks' ``field``."""
        points, flags = self._points(blocks, field, part)
        return intervals.ratio_of_sums(
            points,
            unit=self._unit,
            provenance=self.provenance,
            method=f"{self._method}; ratio of sums",
            flags=flags,
            reason=self._reason(blocks, points),
            scale_relative_u=scale_u,
        )

    def mean_power(self, blocks: Sequence[BlockSums]) -> Figure:
        """Energy over time; of energies with idle margins in them the time is another."""
        ratio = EnergyMaker(self.sums, self.provenance, "W", self._method, self._flags).ratio(
            blocks, "duration_s", _gross
        )
        if MARGINS_COUNTED not in self._flags:
            return ratio
        reason = "idle margins are in the energy and not in the time"
        return replace(ratio, value=None, low=None, high=None, reason_if_null=reason)

    def mean_ratio(self, blocks: Sequence[BlockSums], field: str, part: Part) -> Figure:
        """Mean of the ratios, each block counting alike."""
        points, flags = self._points(blocks, field, part)
        unit = "request" if all(block.requests == 1 for block in blocks) else "block"
        return intervals.mean_of_ratios(
            points,
            unit=self._unit,
            provenance=self.provenance,
            method=f"{self._method}; mean of per-{unit} ratios",
            flags=flags,
            reason=self._reason(blocks, points),
        )

    def _points(
        self, blocks: Sequence[BlockSums], field: str, part: Part
    ) -> tuple[list[intervals.BlockValue], tuple[str, ...]]:
        points: list[intervals.BlockValue] = []
        for block in blocks:
            energy = self.sums.get(block.number, _NOTHING)
            joules = part(energy)
            work = getattr(block, field)
            if joules is not None and work is not None and work > 0:
                idle_u = energy.idle_u_j if part is _net else None
                points.append(intervals.BlockValue(joules, work, block.process, idle_u))
        partial = ("incomplete_blocks",) if 0 < len(points) < len(blocks) else ()
        return points, self._flags + partial

    def _reason(self, blocks: Sequence[BlockSums], points: Sequence[intervals.BlockValue]) -> str | None:
        if points:
            return None
        if not blocks:
            return "no blocks"
        if not self.sums:
            return "no energy was recorded for this phase"
        if self._flags:
            return "; ".join(f"{flag}: {explain(flag)}" for flag in self._flags)
        return "the sensor gave nothing in any block, or no work was counted"
