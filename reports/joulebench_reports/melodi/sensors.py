"""The instruments behind a published table's energy columns, as channels of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from joulebench.api import Provenance

#: First part of the paths of imported channels.
PROBE: Final = "melodi"
#: Keys of a request's ``values_json`` that are no features: ns, as the runtime reported them.
LOAD_NS: Final = "load_duration_ns"
TOTAL_NS: Final = "total_duration_ns"


@dataclass(frozen=True, slots=True)
class PublishedSensor:
    """What stands behind an energy column.

    The CPU's figures are Scaphandre's share of a process by CPU time: estimates, however the
    package was read. The GPU's are nvidia-smi's power, polled and integrated: measured. A sum is
    no better than its worst part. ``counted`` sensors make up a total of their provenance.
    """

    column: str
    domain: str
    provenance: Provenance
    counted: bool
    note: str


_PUBLISHED: Final = "published with MELODI, measured by others"
SENSORS: Final = (
    PublishedSensor(
        "energy_consumption_llm_gpu",
        "gpu",
        "measured",
        True,
        f"{_PUBLISHED}: nvidia-smi power polled at 10 Hz and integrated, with the margins of its window",
    ),
    PublishedSensor(
        "energy_consumption_llm_cpu",
        "process-cpu",
        "estimated",
        True,
        f"{_PUBLISHED}: Scaphandre's share of the CPU's energy for the processes whose command "
        "line matched, with the margins of its window; children that did not match are missing",
    ),
    PublishedSensor(
        "energy_consumption_llm_total",
        "process-total",
        "estimated",
        False,
        f"{_PUBLISHED}: the sum of its CPU and GPU columns",
    ),
    PublishedSensor(
        "energy_consumption_llm", "process-all", "estimated", False, f"{_PUBLISHED}: the energy that its analysis takes"
    ),
    PublishedSensor(
        "energy_consumption_monitoring",
        "monitoring",
        "estimated",
        False,
        f"{_PUBLISHED}: what the monitors themselves took",
    ),
)


def channel_of(column: str) -> str:
    """The path of the channel that holds an energy column."""
    return f"{PROBE}/{column.removeprefix('energy_consumption_')}"
