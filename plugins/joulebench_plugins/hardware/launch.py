"""``launch``: what the smallest call costs."""

from __future__ import annotations

from typing import ClassVar

from joulebench.api import BackendSession, Kernel, Option, Settings
from joulebench_plugins.hardware.repeating import SECONDS, RepeatedKernel


class Launch(RepeatedKernel):
    """The smallest call that the backend can make, one after another."""

    name: ClassVar[str] = "launch"
    summary: ClassVar[str] = "the smallest call: overhead of the runtime and its device"
    unit: ClassVar[str] = "call"
    requires: ClassVar[frozenset[str]] = frozenset({"hardware"})
    options: ClassVar[tuple[Option, ...]] = (SECONDS,)

    def kernel(self, session: BackendSession, settings: Settings) -> Kernel:
        """The call; it has no size."""
        return session.hardware_kernel(self.name, 0)

    def work(self, kernel: Kernel) -> float:
        """A run is a call."""
        return 1.0
