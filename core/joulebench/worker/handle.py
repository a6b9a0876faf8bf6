"""What a run asks of a worker, whatever is at the other end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


def _no_work() -> None:
    return None


class WorkerHandle(Protocol):
    """The parent's hold on a worker.

    :class:`joulebench.worker.process.WorkerProcess` holds a process;
    :class:`joulebench.testing.workers.FakeWorker` answers by itself, in virtual time, so that what
    a run does with its workers can be tested without any.
    """

    #: The process that runs the model.
    model_pid: int

    @property
    def pid(self) -> int:
        """Process id of the worker."""

    def watch(self, model_pid: int) -> None:
        """The process that runs the model, where it is not the worker itself but its child."""

    def greet(self, timeout_s: float) -> None:
        """Check that the other side speaks this protocol."""

    def ask(
        self, order: Mapping[str, Any], timeout_s: float, idle: Callable[[], None] = _no_work, limit_name: str = ""
    ) -> dict[str, Any]:
        """Send a request and wait for its answer; raises ``WorkerError``."""

    def pause(self) -> None:
        """Stop the worker in its tracks."""

    def resume(self) -> None:
        """Let a paused worker go on."""

    def stderr_tail(self) -> str | None:
        """The last lines that the worker wrote to standard error."""

    def kill(self) -> None:
        """End the worker at once."""

    def close(self) -> None:
        """Ask the worker to end; kill it if it does not."""
