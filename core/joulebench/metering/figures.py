"""What one measured window came to: frozen figures, as text, HTML and JSON.

Figures of different provenance (measured, estimated, simulated) never share a total. Unknown is
``None``, and ``notes`` say why and what to do.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulebench.api import PROVENANCES, Provenance
from joulebench.meter.energy import (
    ACCURACY_UNDECLARED,
    FINE_PERIODS,
    SMALLEST_PERIODS,
    WindowEnergy,
    single_window_interval,
    total_energy,
)
from joulebench.meter.uncertainty import Interval
from joulebench.meter.windows import PARTS_MISSING

_HEADER: Final = ("energy", "J", "95 % interval", "at worst", "net J", "provenance", "flags")
_NET: Final = _HEADER.index("net J")


@dataclass(frozen=True, slots=True)
class EnergyFigure:
    """Energy of one channel, or the total of one provenance, over a window.

    ``gross`` holds J, standard uncertainty, worst case and flags; ``net`` the same less the idle
    power, ``None`` where no idle power was measured. ``counted`` says whether it enters the total.
    ``update_period_s`` is the sensor's, as declared or (``period_measured``) as found here.
    """

    name: str
    domain: str
    provenance: Provenance
    counted: bool
    gross: WindowEnergy
    net: WindowEnergy | None = None
    update_period_s: float | None = None
    period_measured: bool = False
    note: str = ""
    #: What the sensor declares of how far it may be off; empty where nothing.
    accuracy: str = ""

    @property
    def gross_j(self) -> float | None:
        """Joules of the whole domain over the window."""
        return self.gross.gross_j

    @property
    def net_j(self) -> float | None:
        """Joules beyond idle power × duration."""
        return None if self.net is None else self.net.gross_j

    @property
    def worst_j(self) -> float | None:
        """The largest error that the edges can make, in J; ``None`` where the scale errs too, unbounded."""
        return None if self.gross.relative_u or self.gross.offset_u_w else self.gross.worst_j

    @property
    def flags(self) -> tuple[str, ...]:
        """What stands against the figure."""
        return self.gross.flags

    @property
    def interval(self) -> Interval | None:
        """95 % interval of this single window: edges, quantum and the sensor's scale."""
        return single_window_interval(self.gross)

    @property
    def hint(self) -> str | None:
        """What would make a refused figure possible."""
        period = self.update_period_s
        if "insufficient_resolution" in self.flags and period is not None:
            return (
                f"{self.name}: a window of {time_text(self.gross.duration_s)} is too short for a "
                f"sensor that changes every {time_text(period)}; "
                f"{time_text(SMALLEST_PERIODS * period)} would do (5 %), "
                f"{time_text(FINE_PERIODS * period)} for 1 %"
            )
        flag = next((flag for flag in _HINTS if flag in self.flags), None)
        return None if flag is None else f"{self.name}: {_HINTS[flag]}"

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        interval, net = self.interval, self.net
        return {
            "channel": self.name,
            "domain": self.domain,
            "provenance": self.provenance,
            "counted": self.counted,
            "method": self.gross.method,
            "duration_s": self.gross.duration_s,
            "gross_j": self.gross_j,
            "gross_u_j": None if interval is None else interval.u,
            "low_j": None if interval is None else interval.low,
            "high_j": None if interval is None else interval.high,
            "worst_j": self.worst_j,
            "net_j": self.net_j,
            "net_u_j": None if net is None else net.u_j,
            "update_period_s": self.update_period_s,
            "update_period_measured": self.period_measured,
            "flags": list(self.flags),
            "note": self.note,
            "accuracy": self.accuracy or None,
        }


#: What each flag means for a figure and what would help; the weightiest first.
_HINTS: Final = {
    "counter_frozen": "the counter stood still, so nothing that it says is believed; 'joulebench doctor' watches it",
    "sensor_lost": "the sensor could not be read at an edge of the window; it is opened again for the next one",
    "counter_reset": "the counter jumped, back without a wrap or further than any power explains (driver reload, "
    "suspend); measure again",
    "power_implausible": "the gauge showed no power, less than none or more than any machine draws; "
    "'joulebench doctor' shows what it reads",
    "sensor_saturated": "the gauge stood at its full scale, so the energy may be more; "
    "a range of the meter above the largest power would show it",
    "samples_missing": "the gauge's samples are missing in or around the window; measure again",
    "counter_ambiguous": "the counter may have wrapped unseen: its readings in between are missing",
    "update_period_unverified": "how often the sensor changes is as its probe declares, nobody has measured it; "
    "calibrate_s=None or --calibrate measures it",
    ACCURACY_UNDECLARED: "how far the sensor may be off is not declared, so it is in no interval; its probe's "
    "Channel.accuracy says it",
    "children_not_counted": "the model follows the command's own process; what its children used "
    "is not in the estimate",
    "forked": "the window was opened before a fork and closed in the child: measure inside one process",
    "sampler_lost": "the sampler process has ended: open a new joulebench.Meter()",
}


@dataclass(frozen=True, slots=True)
class MissingProbe:
    """A probe that cannot be read here, why, and what would cure it."""

    probe: str
    reason: str
    cure: str | None


@dataclass(frozen=True, slots=True)
class MissingPart:
    """A domain that the total of one provenance lacks, why, and what would cure it."""

    provenance: Provenance
    domain: str
    reason: str
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One window: time, CPU time, memory, and the energy of each channel.

    ``cpu_s`` is the process's own CPU time (of a command: with its waited-for descendants),
    ``children_cpu_s`` that of children which were waited for in the window. ``peak_rss_bytes`` is
    ``None`` where the window's peak lies below what can be told (an earlier peak of the process);
    then ``peak_rss_bound_bytes`` is its upper bound. Joules of windows that overlap are the same
    joules: they must not be added.
    """

    seconds: float
    cpu_s: float
    children_cpu_s: float
    peak_rss_bytes: int | None
    peak_rss_bound_bytes: int
    energy: tuple[EnergyFigure, ...]
    flags: tuple[str, ...] = ()
    missing: tuple[MissingProbe, ...] = ()
    missing_parts: tuple[MissingPart, ...] = ()

    @property
    def totals(self) -> tuple[EnergyFigure, ...]:
        """The counted channels added up, one total for each provenance that there is."""
        totals = (self.total(provenance) for provenance in PROVENANCES)
        return tuple(total for total in totals if total is not None)

    def total(self, provenance: Provenance) -> EnergyFigure | None:
        """The total of one provenance; ``None`` where no counted channel has it."""
        total = _total(self.energy, provenance)
        if total is None or not any(part.provenance == provenance for part in self.missing_parts):
            return total
        return replace(total, gross=replace(total.gross, flags=(PARTS_MISSING, *total.gross.flags)))

    @property
    def measured_j(self) -> float | None:
        """Total of the sensors, in J; never an estimate or a simulation."""
        return _gross(self.total("measured"))

    @property
    def estimated_j(self) -> float | None:
        """Total of the models, in J."""
        return _gross(self.total("estimated"))

    @property
    def simulated_j(self) -> float | None:
        """Total of imitated sensors, in J."""
        return _gross(self.total("simulated"))

    @property
    def notes(self) -> tuple[str, ...]:
        """Why figures are missing or weak, and what to do about it: what weighs most comes first."""
        notes = [
            f"total {part.provenance} lacks {part.domain}: {part.reason}{_semicolon(part.cure)}"
            for part in self.missing_parts
        ]
        notes += [figure.hint for figure in sorted(self.energy, key=_weight) if figure.hint]
        notes += [f"{figure.name}: {figure.accuracy}, in its interval" for figure in self.energy if figure.accuracy]
        if not any(figure.provenance == "measured" for figure in self.energy):
            notes.append("no energy is measured here")
            notes += [f"{probe.probe}: {probe.reason}{_semicolon(probe.cure)}" for probe in self.missing]
        return tuple(dict.fromkeys(notes))

    def rows(self) -> list[tuple[str, ...]]:
        """The energy table's cells as text: the header, channels, totals."""
        rows = [_HEADER, *(_row(figure) for figure in (*self.energy, *self.totals))]
        if any(figure.net is not None for figure in self.energy):
            return rows
        return [(*row[:_NET], *row[_NET + 1 :]) for row in rows]

    def summary(self) -> str:
        """Time, CPU time and memory in a line."""
        children = f" + children {self.children_cpu_s:.3g} s" if self.children_cpu_s else ""
        flags = f"; {', '.join(self.flags)}" if self.flags else ""
        return (
            f"{time_text(self.seconds)}, CPU {time_text(self.cpu_s)}{children}, "
            f"peak memory {self._memory_text()}{flags}"
        )

    def _memory_text(self) -> str:
        if self.peak_rss_bytes is not None:
            return f"{self.peak_rss_bytes / 2**20:.1f} MiB"
        return f"at most {self.peak_rss_bound_bytes / 2**20:.1f} MiB"

    def table(self) -> str:
        """Everything as text."""
        lines = [self.summary()]
        if self.energy:
            lines += aligned(self.rows())
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    __str__ = table

    def _repr_html_(self) -> str:
        """The table for a notebook; every text is escaped."""
        parts = [f"<p>{html.escape(self.summary())}</p>"]
        if self.energy:
            first, *rest = self.rows()
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in first)
            body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rest)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        if self.notes:
            items = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
            parts.append(f"<ul>{items}</ul>")
        return "".join(parts)

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "seconds": self.seconds,
            "cpu_s": self.cpu_s,
            "children_cpu_s": self.children_cpu_s,
            "peak_rss_bytes": self.peak_rss_bytes,
            "peak_rss_bound_bytes": self.peak_rss_bound_bytes,
            "flags": list(self.flags),
            "energy": [figure.as_json() for figure in self.energy],
            "totals": [total.as_json() for total in self.totals],
            "missing_parts": [
                {"provenance": part.provenance, "domain": part.domain, "reason": part.reason, "cure": part.cure}
                for part in self.missing_parts
            ],
            "missing": [
                {"probe": missing.probe, "reason": missing.reason, "cure": missing.cure} for missing in self.missing
            ],
            "notes": list(self.notes),
        }


def _semicolon(text: str | None) -> str:
    return f"; {text}" if text else ""


def _weight(figure: EnergyFigure) -> int:
    """Counted figures that are null come first, those outside the totals last."""
    return (0 if figure.gross_j is None else 1) if figure.counted else 2


def _gross(figure: EnergyFigure | None) -> float | None:
    return None if figure is None else figure.gross_j


def _total(energy: Sequence[EnergyFigure], provenance: Provenance) -> EnergyFigure | None:
    parts = [figure for figure in energy if figure.counted and figure.provenance == provenance]
    if not parts:
        return None
    nets = [part.net for part in parts if part.net is not None]
    return EnergyFigure(
        name=f"total {provenance}",
        domain=" + ".join(part.domain for part in parts),
        provenance=provenance,
        counted=False,
        gross=total_energy([part.gross for part in parts]),
        net=total_energy(nets) if len(nets) == len(parts) else None,
    )


def _row(figure: EnergyFigure) -> tuple[str, ...]:
    interval, worst, net = figure.interval, figure.worst_j, figure.net
    counted = figure.counted or figure.name.startswith("total ")
    name = figure.name if counted else f"{figure.name} (not added)"
    return (
        name,
        number_text(figure.gross_j),
        "" if interval is None else f"{number_text(interval.low)} … {number_text(interval.high)}",
        "" if worst is None else f"± {worst:.2g}",
        "" if net is None else number_text(net.gross_j),
        figure.provenance,
        ", ".join(dict.fromkeys((*figure.flags, *(net.flags if net is not None else ())))),
    )


def number_text(value: float | None) -> str:
    """A figure in five digits; ``null`` where it is unknown."""
    return "null" if value is None else f"{value:.5g}"


def time_text(seconds: float) -> str:
    """``0.0123`` as ``12.3 ms``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
