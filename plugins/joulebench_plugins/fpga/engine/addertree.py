"""The sum of all lanes: a tree of adders with a register behind each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal, signed


def pipelined_sum(m: Module, terms: Sequence[Any]) -> Any:
    """The sum of signed ``terms``, a power of two of them, after log2 of their number of cycles.

    Each level is one bit wider than that before it, so nothing can overflow.
    """
    level = list(terms)
    while len(level) > 1:
        sums = []
        for left, right in zip(level[::2], level[1::2], strict=True):
            total = Signal(signed(len(left) + 1), reset_less=True)
            m.d.sync += total.eq(left + right)
            sums.append(total)
        level = sums
    return level[0]
