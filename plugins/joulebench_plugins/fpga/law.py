"""How many cycles the engine needs: a closed form, exactly what the RTL counts.

A *beat* is what the engine takes from memory at once: one weight for each lane. A row of
``columns`` weights is ceil(columns / lanes) beats, the last one filled up with zeros. Memory
grants ``beats_num`` beats in every ``beats_den`` cycles, evenly: in each cycle an accumulator
grows by ``beats_num``, and when it holds ``beats_den`` or more a beat is granted and ``beats_den``
taken from it.

After ``c`` cycles ``floor(c · num / den)`` beats have been granted (``num ≤ den``, so never two in
a cycle). Beat ``k`` is therefore granted in the first cycle ``c`` with ``c · num ≥ k · den``:
cycle ``ceil(k · den / num)``. The engine takes every beat in the cycle that it is granted in, and
the result of the last one comes :func:`pipeline_cycles` later. So::

    cycles = ceil(beats · den / num) + 15 + log2(lanes)
    stalls = ceil(beats · den / num) - beats

Cycles are counted from the first one in which the engine can take a beat to that in which the last
result stands at its output, both included. Writing the activations before that takes
:func:`activation_cycles` more.

Groups (``group`` > 0, for weights with a scale for each group of columns) are one pass over the
row, not so many products of their own: the engine gives out an accumulator and begins a new one at
each boundary and never waits. A group that is no multiple of the lanes fills its last beat up with
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from joulebench.errors import ProfileError

MIN_LANES: Final = 2
MAX_LANES: Final = 1024
WEIGHT_BITS: Final = (8, 4)
#: 2^16 columns of -128 · -128 are 2^30: an accumulator of 32 bits never overflows.
MAX_COLUMNS: Final = 65_536
#: Widths of the engine's counters of rows and of cycles, in bits.
ROW_BITS: Final = 20
CYCLE_BITS: Final = 32

#: Registers between a beat and its result, but for the adder tree's: the beat itself, and beside
#: the memory of the activations (2); the multipliers' inputs, product and output (3); the
#: accumulator (1); the requantizer (9, :mod:`joulebench_plugins.fpga.engine.requantizer`).
FIXED_STAGES: Final = 15


@dataclass(frozen=True, slots=True)
class Engine:
    """One size of the engine: so many multipliers side by side, weights of so many bits.

    ``max_columns`` is the longest row whose activations its memory holds. Raises
    :class:`ProfileError` for a size that cannot be built.
    """

    lanes: int
    weight_bits: Literal[8, 4] = 8
    max_columns: int = 16_384

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.lanes & (self.lanes - 1):
            below = 1 << max(self.lanes, MIN_LANES).bit_length() - 1
            raise ProfileError(
                f"{self.lanes} lanes: the adder tree needs a power of two",
                where="lanes",
                hint=f"use {below} or {2 * below}",
            )
        if not MIN_LANES <= self.lanes <= MAX_LANES:
            raise ProfileError(f"{self.lanes} lanes: the engine has {MIN_LANES} to {MAX_LANES}", where="lanes")
        if self.weight_bits not in WEIGHT_BITS:
            raise ProfileError(f"weights of {self.weight_bits} bits: the engine takes 8 or 4", where="weight_bits")
        if not self.lanes <= self.max_columns <= MAX_COLUMNS or self.max_columns % self.lanes:
            raise ProfileError(
                f"{self.max_columns} columns: a multiple of the {self.lanes} lanes, up to "
                f"{MAX_COLUMNS:,}, can be built",
                where="max_columns",
            )

    @property
    def beat_bytes(self) -> int:
        """Bytes of weights in one beat."""
        return self.lanes * self.weight_bits // 8

    @property
    def depth(self) -> int:
        """Beats of activations that the engine's memory holds."""
        return self.max_columns // self.lanes

    @property
    def tree_levels(self) -> int:
        """Stages of the adder tree: log2 of the lanes."""
        return self.lanes.bit_length() - 1


def row_beats(engine: Engine, columns: int, group: int = 0) -> int:
    """Beats of one row; with ``group`` > 0 each group of columns begins with a beat of its own.

    Raises ``ValueError`` for a row without columns and :class:`ProfileError` for one that the
    engine's memory of activations does not hold.
    """
    if columns < 1 or group < 0:
        raise ValueError(f"a row of {columns} columns in groups of {group}")
    whole, rest = divmod(columns, group) if group else (0, columns)
    beats = whole * _ceil(group, engine.lanes) + _ceil(rest, engine.lanes)
    if beats > engine.depth:
        raise ProfileError(
            f"a row of {columns} columns needs {beats} beats of {engine.lanes} activations; the "
            f"engine's memory holds {engine.depth}",
            where="max_columns",
            hint=f"build the engine for {beats * engine.lanes} columns (at most {MAX_COLUMNS:,})",
        )
    return beats


def pipeline_cycles(engine: Engine) -> int:
    """Cycles from the beat that ends a row to that row's result."""
    return FIXED_STAGES + engine.tree_levels


def gemv_cycles(engine: Engine, rows: int, columns: int, beats_num: int = 1, beats_den: int = 1, group: int = 0) -> int:
    """Cycles of a matrix of ``rows`` × ``columns`` times a vector that is already in the engine.

    Memory grants ``beats_num`` beats in ``beats_den`` cycles, at most one in each. Raises
    ``ValueError`` for numbers without meaning.
    """
    arrival = _last_arrival(rows * row_beats(engine, columns, group), rows, beats_num, beats_den)
    return arrival + pipeline_cycles(engine)


def stall_cycles(
    engine: Engine, rows: int, columns: int, beats_num: int = 1, beats_den: int = 1, group: int = 0
) -> int:
    """Those of :func:`gemv_cycles` in which the engine waits for memory."""
    beats = rows * row_beats(engine, columns, group)
    return _last_arrival(beats, rows, beats_num, beats_den) - beats


def activation_cycles(engine: Engine, columns: int, group: int = 0) -> int:
    """Cycles that writing a vector of activations takes before a product: one for each beat.

    Products with the same vector (such as query, key and value of a layer) need it once.
    """
    return row_beats(engine, columns, group)


def _last_arrival(beats: int, rows: int, beats_num: int, beats_den: int) -> int:
    if not 1 <= beats_num <= beats_den:
        raise ValueError(f"{beats_num} beats in {beats_den} cycles: at most one in a cycle")
    if not 1 <= rows < 1 << ROW_BITS:
        raise ValueError(f"{rows} rows: the engine counts from 1 to {(1 << ROW_BITS) - 1}")
    return _ceil(beats * beats_den, beats_num)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
