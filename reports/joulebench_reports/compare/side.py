"""One side of a comparison of two runs: a session, or what was kept of one.

Everything is plain and small enough to be stored: each figure with its relative standard
uncertainty and degrees of freedom, and what has to be equal for two figures to be comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from joulebench.api import Provenance, Scalar

#: What may be selected with ``--metric``, and has a threshold of its own.
MetricGroup = Literal["energy", "time", "memory", "quality"]
METRIC_GROUPS: Final[tuple[MetricGroup, ...]] = ("energy", "time", "memory", "quality")

#: A record flattened to scalars: ``{"cpu.model": …}``. ``None`` is unknown.
Facts = Mapping[str, Scalar | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """A kind of figure. ``scatters``: it is a mean over blocks and has an interval.

    One that does not is a single reading (peak memory) or follows from the model and the text
    (perplexity).
    """

    title: str
    group: MetricGroup
    higher_is_better: bool = False
    scatters: bool = True


METRICS: Final[Mapping[str, Metric]] = {
    "energy": Metric("energy", "energy"),
    "rate": Metric("rate", "time", higher_is_better=True),
    "ttft": Metric("TTFT", "time"),
    "tpot": Metric("TPOT", "time"),
    "memory": Metric("peak memory", "memory", scatters=False),
    "perplexity": Metric("perplexity", "quality", scatters=False),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of a cell. ``value`` is positive, in ``unit``.

    ``u`` is its relative standard uncertainty with ``df`` degrees of freedom, from the scatter of
    ``n`` blocks of ``processes`` processes; ``None`` where it has none. ``basis`` is what the
    figure rests on (channels, the scored text): figures of another basis are not of one kind.
    ``scale_u`` is the relative standard uncertainty of the sensor's scale, common to all blocks.
    """

    metric: str
    unit: str
    value: float
    u: float | None = None
    df: float | None = None
    n: int = 0
    processes: int | None = None
    low: float | None = None
    high: float | None = None
    provenance: Provenance | None = None
    basis: str = ""
    scale_u: float | None = None


@dataclass(frozen=True, slots=True)
class SideCell:
    """A cell: what it is, how it ended, and its figures.

    ``identity`` is by what it is found on the other side: model, technique, backend, device,
    workload and every setting. ``facts`` are what the run really used, ``absent`` the reasons of
    figures that it does not have, by metric.
    """

    label: str
    identity: Facts
    status: str
    cause: str | None
    artifact_hash: str | None
    facts: Facts
    estimates: tuple[Estimate, ...]
    absent: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Side:
    """A run as a comparison sees it. ``protocol`` is ``None`` where the profile is unreadable."""

    session_id: str
    created_at: str | None
    status: str
    profile_name: str
    machine: Facts
    state: Facts
    protocol: Facts | None
    versions: Facts
    cells: tuple[SideCell, ...]

    @property
    def identity(self) -> tuple[str, str | None, tuple[Estimate, ...]]:
        """What a copy of the session has as well, under whatever name its folder bears."""
        return self.session_id, self.created_at, tuple(figure for cell in self.cells for figure in cell.estimates)
