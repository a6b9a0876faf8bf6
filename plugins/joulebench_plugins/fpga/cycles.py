"""What a token costs: cycles in closed form, bytes of memory, multiplications.

A token is a list of matrix–vector products (:mod:`joulebench_plugins.fpga.traffic`), each as long as
:func:`joulebench_plugins.fpga.law.gemv_cycles` says, one after the other, for a product needs the last
one's result. The rows of each are spread evenly over the engines, and memory's bandwidth with them.
On top come, in closed form as well and not held to the RTL:

- writing each vector of activations into the engines, a beat a cycle;
- scales, the embedding's row and the new keys and values, at memory's rate;
- memory's latency, where nothing can be fetched ahead: at a token's start, and in each layer before
  its scores and its values, whose last row has just been written. All else is known beforehand, so
  that it is asked for in time and the stream never pauses between products.

A prompt is read token by token; nothing is kept on the chip from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction

from joulebench_plugins.fpga.law import Engine, activation_cycles, gemv_cycles
from joulebench_plugins.fpga.traffic import Layout, TokenProduct


@dataclass(frozen=True, slots=True)
class EngineArray:
    """Engines of one size side by side; ``rate`` beats come to each in a cycle, at most one."""

    engine: Engine
    engines: int
    rate: Fraction
    latency_cycles: int

    @property
    def bytes_per_cycle(self) -> Fraction:
        """What memory gives to all engines together."""
        return self.rate * self.engines * self.engine.beat_bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work costs; ``lane_macs`` counts idle lanes of a filled-up beat too."""

    cycles: int = 0
    dram_bytes: int = 0
    #: Activations that the lanes read from their memory, and that were written into it.
    on_chip_bytes: int = 0
    lane_macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))

    def times(self, count: int) -> Cost:
        """So many of it."""
        return Cost(*(getattr(self, f.name) * count for f in fields(Cost)))


class CycleModel:
    """Costs of tokens of one layout on one machine. Contexts count the token itself."""

    def __init__(self, layout: Layout, machine: EngineArray) -> None:
        self.layout = layout
        self.machine = machine
        self._projections = _sum(self.product(projection) for projection in layout.projections())
        self._head = self.product(layout.head()) + self._written(layout.shape.hidden_size, 0, 1)
        self._steps: dict[int, Cost] = {}

    def gemv_cycles(self, product: TokenProduct) -> int:
        """Cycles of one pass over one such product, on each engine."""
        machine = self.machine
        rows = -(-product.rows // machine.engines)
        rate = machine.rate
        return gemv_cycles(machine.engine, rows, product.columns, rate.numerator, rate.denominator, product.group)

    def product(self, product: TokenProduct) -> Cost:
        """All products of a kind."""
        layout, engine = self.layout, self.machine.engine
        beats = layout.beats(product)
        scales = layout.scale_bytes(product)
        passes = product.times * layout.planes(product)
        return Cost(
            passes * self.gemv_cycles(product) + self._streaming(scales),
            beats * engine.beat_bytes + scales,
            beats * engine.lanes,
            beats * engine.lanes,
        )

    def _streaming(self, data_bytes: int) -> int:
        """Cycles that other bytes than weights keep memory busy."""
        return -int(-data_bytes // self.machine.bytes_per_cycle)

    def _written(self, columns: int, group: int, times: int) -> Cost:
        """Writing a vector of activations into every engine."""
        machine = self.machine
        beats = activation_cycles(machine.engine, columns, group) * times
        return Cost(beats, 0, beats * machine.engine.lanes * machine.engines, 0)

    def body(self, context: int) -> Cost:
        """A token up to its last hidden state, seeing ``context`` positions."""
        if context not in self._steps:
            self._steps[context] = self._body(context)
        return self._steps[context]

    def _body(self, context: int) -> Cost:
        layout = self.layout
        cost = self._projections
        for product in layout.attention(context):
            cost += self.product(product)
        for columns, group, times in layout.vectors(context):
            cost += self._written(columns, group, times)
        other = layout.position_bytes + layout.embedding_row_bytes
        waits = (1 + 2 * layout.shape.num_hidden_layers) * self.machine.latency_cycles
        return cost + Cost(self._streaming(other) + waits, other, 0, 0)

    def head(self) -> Cost:
        """From a hidden state to the logits."""
        return self._head

    def decode(self, context: int) -> Cost:
        """One token and the choice of the next."""
        return self.body(context) + self._head

    def read(self, first: int, count: int, heads: int) -> Cost:
        """``count`` tokens at positions ``first`` …, with ``heads`` sets of logits."""
        bodies = _sum(self.body(first + place + 1) for place in range(count))
        return bodies + self._head.times(heads)


def _sum(costs: Iterable[Cost]) -> Cost:
    total = Cost()
    for cost in costs:
        total += cost
    return total
