"""Which cells are loaded together, so that they can take turns, where memory does not hold all."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def fitting(
    cells: Sequence[T], needed: Callable[[T], float], kin: Callable[[T], Hashable], room: float, anchor: T | None = None
) -> list[list[T]]:
    """Groups of cells of which each fits into ``room`` bytes; all in one where they do.

    ``kin`` are kept in one group where they fit into one: cells of one backend, since what a
    technique brings is told against its own backend's uncompressed cell, in turns with it. The
    ``anchor`` is one of the cells: the first group has it, and each other one leaves room for it.
    """
    if sum(map(needed, cells)) <= room:
        return [list(cells)] if cells else []
    families: dict[Hashable, list[T]] = {}
    if anchor is not None:
        families[kin(anchor)] = [anchor]
    for cell in cells:
        if cell is not anchor:
            families.setdefault(kin(cell), []).append(cell)
    beside = 0.0 if anchor is None else needed(anchor)
    groups: list[list[T]] = []
    used = 0.0

    def begin() -> None:
        nonlocal used
        used = beside if groups else 0.0
        groups.append([])

    for family in families.values():
        if not groups or used + sum(map(needed, family)) > room:
            begin()
        for cell in family:
            if groups[-1] and used + needed(cell) > room:
                begin()
            groups[-1].append(cell)
            used += needed(cell)
    return groups
