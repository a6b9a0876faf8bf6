"""Kernels that show what the bare device can do: streams, matrix products, the smallest call.

Bytes are counted as STREAM does (J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current
High Performance Computers", 1995): copy moves two arrays, triad three. That a processor may read
a line before it writes to it (write-allocate) is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from joulebench.api import Kernel
from joulebench.errors import JoulebenchError

#: Streams are of float32 whatever the session computes in: a byte is a byte, and every processor
#: has wide loads for it.
_STREAM: Final = torch.float32
#: STREAM's scalar; any number that is neither 0 nor 1.
_SCALAR: Final = 3.0
_NAMES: Final = ("read", "copy", "triad", "matmul", "matvec", "launch")


def hardware_kernel(name: str, size: int, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The kernel ``name``; ``size`` is in bytes of an array, or in rows of a square matrix."""
    if name in ("read", "copy", "triad"):
        return _stream(name, size // _STREAM.itemsize, device)
    if name in ("matmul", "matvec"):
        return _product(name, size, device, dtype)
    if name == "launch":
        return _launch(device)
    raise JoulebenchError(
        f"torch has no hardware kernel '{name}'", hint=f"there are: {', '.join(_NAMES)}"
    )


def repeated(once: Callable[[], object], device: torch.device) -> Callable[[int], None]:
    """``run(n)`` of a kernel: does it ``n`` times and waits for the device."""

    def run(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times):
                once()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    return run


def _stream(name: str, elements: int, device: torch.device) -> Kernel:
    # Written to, so that every page is one of its own: untouched pages may all be the same zeros.
    first = torch.empty(elements, dtype=_STREAM, device=device).fill_(1.0)
    detail = "float32"
    if name == "read":
        # Of the reductions, a dot product with itself came nearest to a C loop over the array; a
        # sum is held up by its additions on one thread.
        once: Callable[[], object] = lambda: torch.dot(first, first)  # noqa: E731
        detail = "float32, dot product with itself"
    else:
        second = torch.empty_like(first).fill_(2.0)
        if name == "copy":
            once = lambda: second.copy_(first)  # noqa: E731
        else:
            third = torch.empty_like(first).fill_(0.0)
            once = lambda: torch.add(first, second, alpha=_SCALAR, out=third)  # noqa: E731
    arrays = {"read": 1, "copy": 2, "triad": 3}[name]
    flops = {"read": 2, "copy": 0, "triad": 2}[name]
    return Kernel(name, repeated(once, device), arrays * first.nbytes, flops * elements, 0, detail)


def _product(name: str, rows: int, device: torch.device, dtype: torch.dtype) -> Kernel:
    # Of size 1 / rows, the products stay within every number type, and none is denormal.
    matrix = torch.rand((rows, rows), device=device).add_(0.5).div_(rows).to(dtype)
    right = matrix.clone() if name == "matmul" else matrix[0].clone()
    out = torch.empty_like(right)
    apply = torch.mm if name == "matmul" else torch.mv

    def once() -> None:
        apply(matrix, right, out=out)

    return Kernel(
        name,
        repeated(once, device),
        matrix.nbytes + right.nbytes + out.nbytes,
        2 * matrix.numel() * (rows if name == "matmul" else 1),
        detail=str(dtype).removeprefix("torch."),
    )


def _launch(device: torch.device) -> Kernel:
    one = torch.zeros(1, device=device)
    return Kernel("launch", repeated(lambda: one.add_(1.0), device), detail="add to one float32")
