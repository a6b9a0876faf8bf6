"""Holds the model and the cycle law to the RTL, on the very weights and activations being run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from joulebench.errors import PluginError
from joulebench_plugins.fpga.arithmetic import Array
from joulebench_plugins.fpga.configuration import Setup
from joulebench_plugins.fpga.cycles import CycleModel
from joulebench_plugins.fpga.model.cache import IntegerKvCache
from joulebench_plugins.fpga.model.llama import IntegerLlama
from joulebench_plugins.fpga.model.matrices import Matrix
from joulebench_plugins.fpga.model.products import ExactProducts
from joulebench_plugins.fpga.rtlsim import GemvEngine, build, check_gemv

Mode = Literal["off", "sampled", "token"]
#: What the cycles and values of a cell rest on, by how much went through the RTL.
EVIDENCE: Final = {"off": "analytic", "sampled": "rtl-sampled", "token": "rtl-full"}
#: Layers of which a sample is taken.
SAMPLED_LAYERS: Final = 2
#: Tokens that are read before the one that is checked, so that attention has something to see.
_BEFORE: Final = 4


@dataclass(slots=True)
class Verified:
    """What went through the RTL and came out alike."""

    gemvs: int = 0
    macs: int = 0
    #: Cycles of the products as the RTL counted them, of all engines that were run.
    cycles: int = 0
    host_s: float = 0.0
    simulator: str = ""
    #: Names of what was checked, for an error's place.
    latest: str = field(default="", repr=False)


#: Whether a product goes through the RTL: its layer (``None`` for the head) and its head or 0.
Selection = Callable[[int | None, int], bool]


class RtlProducts:
    """Products of which those that are ``wanted`` go through the RTL and must be numpy's.

    Each is cut into the rows of each engine. With ``all_engines`` every one of them is run, and
    the results are the RTL's; else the first one's share is checked, and the results are numpy's.
    Raises :class:`PluginError` where values or cycles differ.
    """

    def __init__(self, setup: Setup, rtl: GemvEngine, selected: Selection, *, all_engines: bool) -> None:
        self.verified = Verified()
        self._setup = setup
        self._rtl = rtl
        self._wanted = selected
        self._all_engines = all_engines
        self._exact = ExactProducts()
        self._layer = 0
        self._model: CycleModel = setup.nominal()

    def matrix(self, matrix: Matrix, x: Array) -> Array:
        """Every vector of ``x`` with the rows of each engine."""
        exact = self._exact.matrix(matrix, x)
        layer = None if matrix.name in ("head", "embed") else self._layer
        if not self._wanted(layer, 0):
            return exact
        for token, vector in enumerate(x):
            for rows in self._shares(matrix.rows):
                weights = matrix.integers(rows.start, rows.stop - rows.start)
                sums = self._run(matrix.name, weights, vector, matrix.bits, matrix.group)
                if matrix.group:
                    exact[:, token, rows] = sums.T
                else:
                    exact[token, rows] = sums
        return exact

    def scores(self, keys: Array, queries: Array, first: int) -> Array:
        """Each head's keys as the weights."""
        exact = self._exact.scores(keys, queries, first)
        for token, head in self._heads(queries.shape[0], queries.shape[1]):
            own = keys[head * len(keys) // queries.shape[1], : first + token + 1]
            for rows in self._shares(len(own)):
                exact[head, token, rows] = self._run("scores", own[rows], queries[token, head], 8)
        return exact

    def values(self, values: Array, weights: Array, first: int) -> Array:
        """Each head's values, transposed, as the weights."""
        exact = self._exact.values(values, weights, first)
        heads, tokens, _ = weights.shape
        for token, head in self._heads(tokens, heads):
            seen = first + token + 1
            own = values[head * len(values) // heads, :seen].T
            for rows in self._shares(len(own)):
                sums = self._run("values", own[rows], weights[head, token, :seen], 8)
                exact[token, head, rows] = sums
        return exact

    def next_layer(self) -> None:
        """Tell that the products of the next layer follow."""
        self._layer += 1

    def _heads(self, tokens: int, heads: int) -> Iterator[tuple[int, int]]:
        for token in range(tokens):
            yield from ((token, head) for head in range(heads) if self._wanted(self._layer, head))

    def _shares(self, rows: int) -> list[slice]:
        """The rows of each engine, the largest first."""
        share = -(-rows // self._setup.engines)
        shares = [slice(start, min(start + share, rows)) for start in range(0, rows, share)]
        return shares if self._all_engines else shares[:1]

    def _run(self, name: str, weights: Array, x: Array, bits: Literal[8, 4], group: int = 0) -> Array:
        """One product through the RTL: accumulators as int32, (rows,) or (rows, groups)."""
        import numpy as np

        where = name if name.startswith("layer") else f"layer {self._layer} {name}"
        weights, x = np.ascontiguousarray(weights, np.int8), np.ascontiguousarray(x, np.int8)
        if bits == self._setup.engine.weight_bits:
            return self._checked(where, weights, x, group)
        # An 8-bit weight on a 4-bit engine: w = 16·high + (low - 8) + 8, both parts -8 … 7.
        high = self._checked(where, weights >> 4, x, group)
        low = self._checked(where, (weights & 15) - 8, x, group)
        shift = 8 * int(x.astype(np.int64).sum())
        total: Array = (16 * high.astype(np.int64) + low + shift).astype(np.int32)
        return total

    def _checked(self, where: str, weights: Array, x: Array, group: int) -> Array:
        rate = self._model.machine.rate
        run, faults = check_gemv(
            self._rtl, weights, x, beats_num=rate.numerator, beats_den=rate.denominator, group=group
        )
        if faults or run is None:
            reasons = "; ".join(str(fault) for fault in faults)
            raise PluginError(
                f"the RTL does not do what the model says, in {where}: {reasons}",
                hint="no figure of this cell could be trusted; please report this",
            )
        verified = self.verified
        verified.gemvs += 1
        verified.macs += int(weights.size)
        verified.cycles += run.cycles
        verified.latest = where
        return run.accumulators


def verify(model: IntegerLlama, setup: Setup, mode: Mode, seed: str) -> Verified:
    """Run one token of ``model`` through the RTL: all of it, or a sample of its layers.

    Raises :class:`PluginError` where anything differs, :class:`UnavailableError` where the RTL
    cannot be built here.
    """
    import numpy as np

    if mode == "off":
        return Verified()
    begun = time.perf_counter()
    rtl = build(setup.engine)
    source = random.Random(seed)  # noqa: S311  a sample, no secret
    shape = setup.shape
    layers = set(source.sample(range(shape.num_hidden_layers), min(SAMPLED_LAYERS, shape.num_hidden_layers)))
    whole = mode == "token"

    def selected(layer: int | None, head: int) -> bool:
        return whole or ((layer is None or layer in layers) and head == 0)

    tokens = np.asarray([source.randrange(shape.vocab_size) for _ in range(_BEFORE + 1)])
    cache = IntegerKvCache(shape, len(tokens))
    model.hidden(tokens[:_BEFORE], cache, ExactProducts())
    products = RtlProducts(setup, rtl, selected, all_engines=whole)
    model.logits(model.hidden(tokens[_BEFORE:], cache, products), products)
    verified = products.verified
    verified.host_s = time.perf_counter() - begun
    verified.simulator = rtl.simulator
    return verified
