"""``operators``: a model's own operators, each alone, at the shapes of one decode step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from joulebench.api import BackendSession, Kernel, Option, Settings
from joulebench.errors import PluginError
from joulebench_plugins.hardware.caches import cache_fact
from joulebench_plugins.hardware.repeating import SECONDS, RepeatedKernel

#: In the order in which a decode step comes to them.
NAMES: Final = (
    "embedding",
    "norm",
    "q_proj",
    "k_proj",
    "v_proj",
    "rotary",
    "cache_update",
    "attention",
    "o_proj",
    "residual_add",
    "gate_proj",
    "up_proj",
    "silu_mul",
    "down_proj",
    "head",
)
#: All of them as one token uses them.
ALL: Final = "all"


class Operators(RepeatedKernel):
    """One operator, or all of them as one token uses them; its unit is the call."""

    name: ClassVar[str] = "operators"
    summary: ClassVar[str] = "a model's operators alone: name several to see where a token goes"
    unit: ClassVar[str] = "call"
    requires: ClassVar[frozenset[str]] = frozenset({"operators"})
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "operator",
            "str",
            ALL,
            "which operator; all is one call of every operator, as often as one token uses it",
            choices=(*NAMES, ALL),
        ),
        Option("context", "int", 512, "positions in the KV cache before the token", minimum=1),
        SECONDS,
    )

    def tokens_needed(self, settings: Settings) -> int:
        """What stands before, and the token."""
        return int(settings["context"]) + 1

    def kernel(self, session: BackendSession, settings: Settings) -> Kernel:
        """The operator by its name."""
        offered = session.operators(int(settings["context"]))
        name = str(settings["operator"])
        if name == ALL:
            return whole_token(offered)
        for operator in offered:
            if operator.name == name:
                return operator
        raise PluginError(
            f"this backend has no operator '{name}'", hint=f"it has: {', '.join(operator.name for operator in offered)}"
        )

    def work(self, kernel: Kernel) -> float:
        """Each is a call."""
        return 1.0

    def facts(self) -> dict[str, float]:
        """Size of the caches: an operator whose weights lie in them outruns memory."""
        return cache_fact()


def whole_token(operators: Sequence[Kernel]) -> Kernel:
    """All operators, each as often as one token uses it, as one kernel."""

    def run(times: int) -> None:
        for _ in range(times):
            for operator in operators:
                operator.run(operator.per_token // operator.together)

    return Kernel(
        ALL,
        run,
        _total((operator.bytes_moved, operator.per_token) for operator in operators),
        _total((operator.operations, operator.per_token) for operator in operators),
        per_token=1,
    )


def _total(amounts: Iterable[tuple[int | None, int]]) -> int | None:
    total = 0
    for amount, times in amounts:
        if amount is None:
            return None
        total += amount * times
    return total
