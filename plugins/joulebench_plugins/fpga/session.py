"""A quantized llama on simulated hardware: numpy computes, the cycle model keeps the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joulebench.api import BackendSession, MemoryUse, Scalar, SimulatedCost, Traffic
from joulebench.backendkit import log_probabilities
from joulebench.errors import JoulebenchError
from joulebench_plugins.fpga.configuration import Setup, on_chip_bytes
from joulebench_plugins.fpga.energy import Ledger, energy_shares
from joulebench_plugins.fpga.model.cache import IntegerKvCache
from joulebench_plugins.fpga.model.llama import IntegerLlama
from joulebench_plugins.fpga.model.products import ExactProducts
from joulebench_plugins.fpga.verification import EVIDENCE, Mode, Verified

#: What the device's time and energy leave out.
NOT_MODELLED: Final = (
    "softmax, RMS norm, rotary positions, SiLU, residual additions, quantizing of activations, "
    "applying of scales, choice of the token, host and board around the device"
)
#: Positions scored at once: bounds the logits to this many rows of the vocabulary's width.
_SCORED: Final = 64


@dataclass(frozen=True, slots=True)
class Checks:
    """How much of the model went through the RTL."""

    mode: Mode
    verified: Verified


class FpgaSession(BackendSession):
    """One sequence. Every token that is read is entered into the device's ledger."""

    def __init__(self, model: IntegerLlama, setup: Setup, checks: Checks) -> None:
        self._model = model
        self._setup = setup
        self._checks = checks
        self._ledger = Ledger(setup)
        self._products = ExactProducts()
        self._cache = IntegerKvCache(setup.shape, setup.cache_tokens)
        self._last = -1
        self.context_length = setup.cache_tokens
        self.vocabulary_size = setup.shape.vocab_size

    # -- generating ------------------------------------------------------------------------

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt, token by token on the device, and return the first greedy token."""
        if not tokens:
            raise JoulebenchError("an empty prompt cannot be read")
        self._cache.length = 0
        self._last = self._next(tokens)
        return self._last

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        if not self._cache.length:
            raise JoulebenchError("step() needs a prompt: call prefill() first")
        self._last = self._next([self._last])
        return self._last

    def _next(self, tokens: Sequence[int]) -> int:
        hidden = self._read(tokens, heads=1)
        logits = self._model.logits(hidden[-1:], self._products)
        return int(logits[0].argmax())

    def _read(self, tokens: Sequence[int], heads: int) -> Any:
        """Final hidden states of tokens after those in the cache; entered into the ledger."""
        import numpy as np

        first, count = self._cache.length, len(tokens)
        if first + count > self._cache.positions:
            raise JoulebenchError(
                f"{first + count} tokens do not fit into {self._cache.positions} positions",
                hint="raise cache_tokens, as far as the model's context goes, or shorten the text",
            )
        ids = np.asarray(tokens, np.int64)
        if ids.min() < 0 or ids.max() >= self._setup.shape.vocab_size:
            raise JoulebenchError(f"a token is not in 0 … {self._setup.shape.vocab_size - 1}")
        hidden = self._model.hidden(ids, self._cache, self._products)
        self._ledger.read(first, count, heads)
        return hidden

    def reset(self) -> None:
        """Forget the sequence; what stands in the cache is never looked at again."""
        self._cache.length = 0

    # -- whole sequences -------------------------------------------------------------------

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of ``tokens[1:]``. Ends the sequence that was begun."""
        import numpy as np

        self.reset()
        if len(tokens) < 2:
            return []
        hidden = self._read(tokens[:-1], heads=len(tokens) - 1)
        scores: list[float] = []
        for start in range(0, len(hidden), _SCORED):
            rows = self._model.logits(hidden[start : start + _SCORED], self._products)
            targets = tokens[start + 1 : start + 1 + len(rows)]
            scores.extend(log_probabilities(rows.astype(np.float64), targets).tolist())
        return scores

    def logits(self, tokens: Sequence[int]) -> Any:
        """Logits after each of ``tokens``: float32, (len(tokens), vocabulary_size)."""
        self.reset()
        hidden = self._read(tokens, heads=len(tokens))
        return self._model.logits(hidden, self._products)

    # -- the record ------------------------------------------------------------------------

    def simulated(self) -> SimulatedCost:
        """Cycles, seconds and joules of the device since the session was opened."""
        return self._ledger.spent()

    def memory(self) -> MemoryUse:
        """The device's memory: weights as they are streamed, the cache, activations on the chip."""
        layout, setup = self._setup.layout, self._setup
        weights = layout.stored_bytes()
        allocated = layout.cache_bytes(setup.cache_tokens)
        return MemoryUse(
            weights_bytes=weights,
            kv_allocated_bytes=allocated,
            kv_used_bytes=layout.cache_bytes(self._cache.length),
            workspace_bytes=on_chip_bytes(setup),
            device_peak_bytes=weights + allocated,
        )

    def traffic(self) -> Traffic:
        """Bytes as they are streamed; a multiplication and its addition are two operations."""
        layout = self._setup.layout
        return Traffic(
            weights_bytes=layout.weights_bytes(),
            kv_position_bytes=layout.position_bytes,
            operations=2 * layout.macs(),
            head_operations=2 * layout.head().macs,
        )

    def facts(self) -> Mapping[str, Scalar]:
        """Hardware, what its figures rest on, and how a token's time and energy come about."""
        setup, device = self._setup, self._setup.device
        machine = self._ledger.model.machine
        verified = self._checks.verified
        at = min(128, setup.cache_tokens)
        cost = self._ledger.model.decode(at)
        seconds = [
            model.decode(at).cycles / setup.clock_hz for model in (self._ledger.model, setup.fastest(), setup.slowest())
        ]
        shares = energy_shares(device, cost, *seconds)
        engines = f"{setup.engines} × {setup.engine.lanes} lanes"
        return {
            "hardware": f"{device.title}, {engines} at {setup.clock_hz / 1e6:g} MHz",
            "evidence": EVIDENCE[self._checks.mode],
            "not_modelled": NOT_MODELLED,
            "dtype": "int4" if setup.layout.bits == 4 else "int8",
            "activations": "int8, a scale for each token",
            "kv_cache": "int8, a scale for each head and position",
            "group": setup.layout.group or None,
            "lanes": setup.engine.lanes,
            "engines": setup.engines,
            "clock_hz": setup.clock_hz,
            "cache_tokens": setup.cache_tokens,
            "memory": device.memory,
            "bandwidth_bytes_per_s": device.bandwidth_bytes_per_s.value,
            "efficiency": device.efficiency.value,
            "efficiency_range": f"{device.efficiency.low:g} … {device.efficiency.high:g}",
            "beats_per_cycle": f"{machine.rate.numerator}/{machine.rate.denominator}",
            "token_context": at,
            "token_cycles": cost.cycles,
            "token_s": seconds[0],
            "token_s_range": f"{seconds[1]:.6g} … {seconds[2]:.6g}",
            **{f"token_{share.name.replace(' ', '_').replace('-', '_')}_j": share.value_j for share in shares},
            "verify": self._checks.mode,
            "verified_gemvs": verified.gemvs,
            "verified_macs": verified.macs,
            "verified_cycles": verified.cycles,
            "verify_host_s": verified.host_s if verified.gemvs else None,
            "rtl_simulator": verified.simulator or None,
        }
