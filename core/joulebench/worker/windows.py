"""The windows of a block that a worker has answered with, as the meter takes them."""

from __future__ import annotations

from typing import Final

from joulebench.meter.windows import TOTAL, BlockWindows, Span
from joulebench.protocol import Block

#: Windows of successive requests that lie closer than this are one window: the two reads between
#: them are the same reading, and treating them as independent edges would widen the result.
_JOIN_NS: Final = 2_000_000


def block_windows(block: Block) -> BlockWindows:
    """The windows of a block by phase, those of successive requests joined."""
    total: list[Span] = []
    phases: dict[str, list[Span]] = {TOTAL: total}
    for request in block.requests:
        own = Span(request.edges[0], request.edges[-1])
        if total and own.start.t_ns - total[-1].end.t_ns < _JOIN_NS:
            total[-1] = Span(total[-1].start, own.end)
        else:
            total.append(own)
        for name, begin, end in request.phases():
            phases.setdefault(name, []).append(Span(begin, end))
    return BlockWindows(block.t0_ns, block.t1_ns, phases, block.began_ns)
