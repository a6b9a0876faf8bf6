"""What is noted of a request while it runs: the time of each phase and token, and the counters there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from joulebench.api import BackendSession, SimulatedCost
from joulebench.errors import PluginError
from joulebench.meter.live.sampler import clock_ns

#: What simulated hardware has spent so far.
CostReader = Callable[[], SimulatedCost]


class RequestRecorder:
    """Stamps the phases and tokens of one request; reads the energy counters at its edges.

    Where hardware is simulated, ``cost`` tells what it has spent, at each edge and token.
    """

    __slots__ = ("_cost", "_read", "costs", "edges", "token", "token_costs", "tokens")

    def __init__(self, read: Callable[[], list[int | None]], cost: CostReader | None = None) -> None:
        self._read = read
        self._cost = cost
        self.edges: list[tuple[int, str, list[int | None]]] = []
        self.tokens: list[int] = []
        self.costs: list[SimulatedCost] = []
        self.token_costs: list[float] = []
        stamp, now = self.tokens.append, clock_ns
        # A closure: the decode loop calls it for each token, so it looks nothing up.
        self.token: Callable[[], None] = lambda: stamp(now())
        if cost is not None:
            self.token = self._token_and_cost

    def phase(self, name: str) -> None:
        """End the running phase and begin ``name``."""
        self.edges.append((clock_ns(), name, self._read()))
        if self._cost is not None:
            self.costs.append(self._cost())

    def _token_and_cost(self) -> None:
        self.tokens.append(clock_ns())
        if self._cost is not None:
            self.token_costs.append(self._cost().device_s)

    def simulated(self) -> dict[str, object] | None:
        """What the hardware had spent at each edge and token, if it is simulated."""
        if self._cost is None:
            return None
        return {"edges": [asdict(cost) for cost in self.costs], "token_s": self.token_costs}


def cost_reader(session: BackendSession) -> CostReader | None:
    """How to ask a session that simulates hardware; ``None`` for one that does not."""
    if session.simulated() is None:
        return None

    def read() -> SimulatedCost:
        cost = session.simulated()
        if cost is None:
            raise PluginError("a session that simulates hardware must tell what it has spent")
        return cost

    return read
