"""What torch is asked to compute while a kernel runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


def operations_of(run: Callable[[], object]) -> list[str]:
    """Names of the operations that reach a device, in their order: ``aten.mm``."""
    names: list[str] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(func.overloadpacket))
            return func(*args, **(kwargs or {}))

    with Record():
        run()
    return names
