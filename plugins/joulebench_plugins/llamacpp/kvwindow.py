"""The first and the last positions, which alone stay in the KV cache. Plain arithmetic.

Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks" (arXiv 2309.17453);
positions stay true, where the paper counts them within the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulebench.api import Settings


@dataclass(frozen=True, slots=True)
class PositionWindow:
    """``budget`` positions stay, the first ``sinks`` of them from the sequence's start.

    Tokens come ``chunk`` at a time at most; each sees what stayed before its chunk came.
    """

    budget: int
    sinks: int
    chunk: int

    @classmethod
    def of(cls, settings: Settings) -> PositionWindow | None:
        """What the backend's settings (completed) ask for; ``None`` where all stay."""
        if settings.get("kv_policy") is None:
            return None
        return cls(int(settings["kv_budget"]), int(settings["kv_sinks"]), int(settings["kv_chunk"]))

    @property
    def cells(self) -> int:
        """Cells that the cache needs: for what stays, and for what comes at once."""
        return self.budget + self.chunk

    def fault(self) -> str | None:
        """Why this is no window, or ``None``."""
        if self.sinks >= self.budget:
            return f"kv_budget = {self.budget} leaves no last positions beside {self.sinks} first ones"
        return None

    def kept(self, length: int) -> int:
        """Positions that are here of the first ``length``."""
        return min(length, self.budget)

    def gone(self, length: int) -> tuple[int, int] | None:
        """Positions [first, end) that have to go when ``length`` have come; ``None`` if none."""
        end = length - (self.budget - self.sinks)
        return (self.sinks, end) if end > self.sinks else None
