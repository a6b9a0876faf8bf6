"""``matmul`` and ``matvec``: the rates of the two products that a language model is made of."""

from __future__ import annotations

from typing import ClassVar

from joulebench.api import BackendSession, Kernel, Option, Settings
from joulebench_plugins.hardware.repeating import SECONDS, RepeatedKernel


class _Product(RepeatedKernel):
    """A product in the backend's number type; a multiply and an add are two operations."""

    unit: ClassVar[str] = "operation"
    requires: ClassVar[frozenset[str]] = frozenset({"hardware"})

    def kernel(self, session: BackendSession, settings: Settings) -> Kernel:
        """The product."""
        return session.hardware_kernel(self.name, int(settings["size"]))

    def work(self, kernel: Kernel) -> float:
        """Floating-point operations of a run."""
        return float(kernel.operations or 0)


class MatMul(_Product):
    """Two square matrices: what the processor can compute, and the limit of a prefill."""

    name: ClassVar[str] = "matmul"
    summary: ClassVar[str] = "rate of matrix × matrix, the limit of a prefill"
    options: ClassVar[tuple[Option, ...]] = (
        Option("size", "int", 2048, "rows of the square matrices; more on an accelerator", minimum=1),
        SECONDS,
    )


class MatVec(_Product):
    """A square matrix and a vector: what a decode step is made of."""

    name: ClassVar[str] = "matvec"
    summary: ClassVar[str] = "rate of matrix × vector, what decoding is made of"
    options: ClassVar[tuple[Option, ...]] = (
        Option("size", "int", 8192, "rows of the square matrix", minimum=1),
        SECONDS,
    )
