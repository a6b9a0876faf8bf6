"""Random products for the FPGA engine: shapes, memories, extremes; decided by a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.rtlsim import GemvEngine, Mismatch, check_gemv

#: Beats in cycles: memories as fast as the engine, half as fast, slow, and awkward ratios.
RATIOS = ((1, 1), (1, 2), (2, 3), (7, 8), (3, 16), (1, 9), (97, 131), (999, 1000))
#: Weights and activations: anything, or the ends of the range at which signs and widths show.
KINDS = ("any", "any", "any", "lowest", "highest", "ends", "zero")


@dataclass(frozen=True)
class Case:
    """One product; ``group`` > 0 has no scale."""

    weights: Any
    x: Any
    multiplier: Any
    shift: Any
    beats_num: int
    beats_den: int
    group: int

    def check(self, rtl: GemvEngine) -> list[Mismatch]:
        """What differs between the RTL and arithmetic and law."""
        return check_gemv(
            rtl,
            self.weights,
            self.x,
            multiplier=self.multiplier,
            shift=self.shift,
            beats_num=self.beats_num,
            beats_den=self.beats_den,
            group=self.group,
        )[1]


def random_case(source: np.random.Generator, engine: Engine, rows: int, columns: int, groups: bool = True) -> Case:
    """A product of up to so many rows and columns, often at an edge of something."""
    m = int(source.choice([1, 2, int(source.integers(1, rows + 1))]))
    k = int(source.choice([1, engine.lanes, int(source.integers(1, columns + 1))]))
    low, high = -(1 << (engine.weight_bits - 1)), (1 << (engine.weight_bits - 1)) - 1
    weights = _values(source, (m, k), low, high)
    x = _values(source, (k,), -128, 127)
    num, den = RATIOS[source.integers(len(RATIOS))]
    if source.random() < 0.3:
        den = int(source.integers(1, 400))
        num = int(source.integers(max(1, den // 20), den + 1))
    if groups and source.random() < 0.2:
        group = int(source.choice([1, 3, engine.lanes, 32, 64, k, k + 5]))
        if -(-k // group) * -(-group // engine.lanes) <= engine.depth:
            return Case(weights, x, None, None, num, den, group)
    return Case(weights, x, *_scales(source, weights, x), num, den, 0)


def _values(source: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> Any:
    kind = KINDS[source.integers(len(KINDS))]
    if kind == "any":
        return source.integers(low, high, shape, endpoint=True).astype(np.int8)
    if kind == "ends":
        return source.choice([low, low + 1, -1, 0, 1, high], shape).astype(np.int8)
    return np.full(shape, {"lowest": low, "highest": high, "zero": 0}[kind], np.int8)


def _scales(source: np.random.Generator, weights: Any, x: Any) -> tuple[Any, Any]:
    """Scales for each row: most bring it near the edges of int8, some are at their own."""
    rows = weights.shape[0]
    acc = np.abs(weights.astype(np.int64) @ x.astype(np.int64)) + 1
    multiplier = source.integers(1, 65_536, rows)
    scales = source.uniform(20.0, 300.0, rows)  # where 127 saturates
    shift = np.clip(np.rint(np.log2(acc * multiplier / scales)), 1, 47).astype(np.int64)
    edge = source.random(rows) < 0.2
    multiplier[edge] = source.choice([0, 1, 32_768, 65_535], int(edge.sum()))
    edge = source.random(rows) < 0.2
    shift[edge] = source.choice([1, 2, 16, 17, 32, 33, 46, 47], int(edge.sum()))
    return multiplier, shift
