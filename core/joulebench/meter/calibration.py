"""What a channel is really like on this machine: its period, quantum, jitter and cost of a read.

Measured by reading as fast as possible for some seconds, never taken from a table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.api import Channel
from joulebench.meter.channels import source_spec
from joulebench.meter.energy import FINE_PERIODS, SMALLEST_PERIODS
from joulebench.meter.sampler import edge_reader
from joulebench.meter.uncertainty import quantile

DEFAULT_SECONDS: Final = 3.0
#: Fewer changes than this tell no period.
_FEWEST_CHANGES: Final = 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """One channel as it was found. Times in s; ``quantum`` in the channel's unit.

    ``period_s`` is the median time between changes, ``period_low_s`` and ``period_high_s`` its
    5th and 95th percentile; all are ``None`` where too few changes were seen. A source that
    changes at each read (``continuous``) has no period that could be seen.
    """

    channel: str
    reads: int
    changes: int
    continuous: bool
    period_s: float | None
    period_low_s: float | None
    period_high_s: float | None
    quantum: float | None
    read_cost_s: float

    def smallest_window_s(self, periods: int) -> float | None:
        """The shortest window of so many update periods; the slower periods count."""
        return None if self.period_high_s is None else periods * self.period_high_s

    @property
    def window_for_1_percent_s(self) -> float | None:
        """Shortest window whose energy is good for 1 %."""
        return self.smallest_window_s(FINE_PERIODS)

    @property
    def window_for_5_percent_s(self) -> float | None:
        """Shortest window whose energy is good for 5 %."""
        return self.smallest_window_s(SMALLEST_PERIODS)


def calibrate(
    channels: Sequence[Channel],
    seconds: float = DEFAULT_SECONDS,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> list[Calibration]:
    """Calibrate each channel in turn; ``seconds`` of fast reads each."""
    return [_calibrate_one(channel, seconds, clock_ns) for channel in channels]


def _calibrate_one(channel: Channel, seconds: float, clock_ns: Callable[[], int]) -> Calibration:
    read = edge_reader([source_spec(0, channel.source, None)])
    changes_ns: list[int] = []
    steps: list[int] = []
    reads = 0
    before = read()[0]
    start = now = clock_ns()
    end = start + int(seconds * 1e9)
    while now < end:
        raw = read()[0]
        now = clock_ns()
        reads += 1
        if raw is not None and before is not None and raw != before:
            changes_ns.append(now)
            steps.append(abs(raw - before))
        before = raw
    cost_s = (now - start) * 1e-9 / reads
    continuous = len(changes_ns) > 0.5 * reads
    periods = [(b - a) * 1e-9 for a, b in zip(changes_ns, changes_ns[1:], strict=False)]
    known = len(changes_ns) >= _FEWEST_CHANGES and not continuous
    return Calibration(
        channel=channel.path,
        reads=reads,
        changes=len(changes_ns),
        continuous=continuous,
        period_s=quantile(periods, 0.5) if known else None,
        period_low_s=quantile(periods, 0.05) if known else None,
        period_high_s=quantile(periods, 0.95) if known else None,
        quantum=math.gcd(*steps) * channel.scale if known else None,
        read_cost_s=cost_s,
    )
