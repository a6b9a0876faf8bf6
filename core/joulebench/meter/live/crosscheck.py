"""Two ways to one counter must tell one story: the second's reading lies between two of the first.

Where two probes read the energy of one domain, both are read in turn: first, second, first. Up to
one offset (where each began to count), every reading of the second must lie between what the first
had counted just before and just after, whatever the load. Allowed for are one count and one update
period of each at the mean power seen; no average hides a reading that is off.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.api import Channel
from joulebench.meter.live.channels import source_spec
from joulebench.meter.live.sampler import edge_reader
from joulebench.meter.uncertainty import quantile

DEFAULT_SECONDS: Final = 1.0
#: Pause between sandwiches: a check is no load.
_PAUSE_S: Final = 0.002
#: Fewer sandwiches than this, or counters that stand still, judge nothing.
_FEWEST: Final = 10

#: (first before, second, first after), as read.
Sandwich = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What came of reading ``second`` between two readings of ``first``.

    ``between`` of ``readings`` lay between; ``worst_j`` is the largest distance outside, and
    ``allowed_j`` what counts and updates explain. ``counted_j`` is what the first counted.
    """

    first: str
    second: str
    readings: int
    between: int
    worst_j: float
    allowed_j: float
    counted_j: float

    @property
    def agrees(self) -> bool | None:
        """Whether the two tell one story; ``None`` where too little was read to tell."""
        if self.readings < _FEWEST or self.counted_j <= self.allowed_j:
            return None
        return self.between == self.readings


def pairs(channels: Sequence[Channel]) -> list[tuple[Channel, Channel]]:
    """Energy counters of one domain and provenance from two probes, the counted one first."""
    counters = [channel for channel in channels if (channel.quantity, channel.kind) == ("energy", "counter")]
    return [
        (first, second)
        for first in counters
        for second in counters
        if first.counted
        and not second.counted
        and (first.domain, first.provenance) == (second.domain, second.provenance)
        and first.path.partition("/")[0] != second.path.partition("/")[0]
    ]


def cross_check(
    first: Channel,
    second: Channel,
    seconds: float = DEFAULT_SECONDS,
    clock_s: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> CrossCheck:
    """Read both in turn for so many seconds."""
    read_first, read_second = (edge_reader([source_spec(0, channel.source, None)]) for channel in (first, second))
    sandwiches: list[Sandwich] = []
    start_s = now_s = clock_s()
    while now_s < start_s + seconds:
        before, inner, after = read_first()[0], read_second()[0], read_first()[0]
        if before is not None and inner is not None and after is not None:
            sandwiches.append((before, inner, after))
        pause(_PAUSE_S)
        now_s = clock_s()
    return judge(first, second, sandwiches, now_s - start_s)


def judge(first: Channel, second: Channel, sandwiches: Sequence[Sandwich], seconds: float) -> CrossCheck:
    """What sandwiches that were read over so many seconds say."""
    before_j = _counted_j([sandwich[0] for sandwich in sandwiches], first)
    inner_j = _counted_j([sandwich[1] for sandwich in sandwiches], second)
    width_j = [_counted_j([sandwich[0], sandwich[2]], first)[-1] for sandwich in sandwiches]
    # The offset between the two counters that each sandwich leaves open, from lowest to highest.
    low = [a - b for a, b in zip(before_j, inner_j, strict=True)]
    high = [bound_j + width for bound_j, width in zip(low, width_j, strict=True)]
    offset = quantile([(a + b) / 2 for a, b in zip(low, high, strict=True)], 0.5) or 0.0
    outside_j = [
        # Below a thousandth of a count it is the rounding of this arithmetic.
        max(0.0, round(max(a - offset, offset - b) / first.scale, 3) * first.scale)
        for a, b in zip(low, high, strict=True)
    ]
    counted_j = before_j[-1] if before_j else 0.0
    periods_s = (first.update_period_s or 0.0) + (second.update_period_s or 0.0)
    allowed_j = first.scale + second.scale + counted_j / seconds * periods_s
    return CrossCheck(
        first=first.path,
        second=second.path,
        readings=len(sandwiches),
        between=sum(excess_j <= allowed_j for excess_j in outside_j),
        worst_j=max(outside_j, default=0.0),
        allowed_j=allowed_j,
        counted_j=counted_j,
    )


def _counted_j(raws: Sequence[int], channel: Channel) -> list[float]:
    """Energy since the first reading, wraps undone; readings are closer than a wrap apart."""
    total = 0
    counted_j = [0.0] * min(1, len(raws))
    for earlier, later in itertools.pairwise(raws):
        step = later - earlier
        total += step % channel.wraps_at if channel.wraps_at else step
        counted_j.append(total * channel.scale)
    return counted_j
