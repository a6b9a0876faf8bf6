"""Kernels that show what the bare device can do: streams, matrix products, the smallest call.

Bytes are counted as STREAM does (J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current
High Performance Computers", 1995): copy moves two arrays, triad three. That a processor may read
a line before it writes to it (write-allocate) is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from joulebench.api import Kernel
from joulebench.errors import JoulebenchError

#: Streams are of float32 whatever the session computes in: a byte is a byte, and every processor
#: has wide loads for it.
_STREAM: Final = torch.float32
#: STREAM's scalar; any number that is neither 0 nor 1.
_SCALAR: Final = 3.0
#: Columns of the matrix as which an array is read: its vector of 16 KiB stays in the first cache.
_COLUMNS: Final = 4096
#: Runs of each way to read, to find the fastest.
_TRIALS: Final = 4
_NAMES: Final = ("read", "copy", "triad", "matmul", "matvec", "launch")


def hardware_kernel(name: str, size: int, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The kernel ``name``; ``size`` is in bytes of an array, or in rows of a square matrix."""
    if name in ("read", "copy", "triad"):
        return _stream(name, size // _STREAM.itemsize, device)
    if name in ("matmul", "matvec"):
        return _product(name, size, device, dtype)
    if name == "launch":
        return _launch(device)
    raise JoulebenchError(f"torch has no hardware kernel '{name}'", hint=f"there are: {', '.join(_NAMES)}")


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
    if name == "read":
        return _read(elements, device)
    first = _array(elements, device).fill_(1.0)
    second = _array(elements, device).fill_(2.0)
    if name == "copy":
        run = repeated(lambda: second.copy_(first), device)
        return Kernel(name, run, 2 * first.nbytes, 0, detail="float32")
    third = _array(elements, device).fill_(0.0)
    run = repeated(lambda: torch.add(first, second, alpha=_SCALAR, out=third), device)
    return Kernel(name, run, 3 * first.nbytes, 2 * elements, detail="float32")


def _array(elements: int, device: torch.device) -> torch.Tensor:
    """An array to be filled, so that every page is one of its own: untouched ones may be shared.

    On huge pages where the system has them: numpy asks for them, torch does not. With small pages
    the processor's search for their addresses was measured instead, a tenth slower.
    """
    if device.type != "cpu":
        return torch.empty(elements, dtype=_STREAM, device=device)
    return torch.from_numpy(np.empty(elements, np.float32))


def _read(elements: int, device: torch.device) -> Kernel:
    """Reads an array as the rows of a matrix, writing one number for each.

    Which of torch's ways to do that is the fastest differs: a sum's additions may hold it up, and a
    product with a vector may be left to a single thread. A limit is what the fastest one reaches,
    so each is tried here.
    """
    columns = min(_COLUMNS, elements)
    rows = elements // columns
    matrix = _array(rows * columns, device).fill_(1.0).view(rows, columns)
    vector = torch.ones(columns, dtype=_STREAM, device=device)
    out = torch.empty(rows, dtype=_STREAM, device=device)
    ways: dict[str, Callable[[], object]] = {
        "times a vector": lambda: torch.mv(matrix, vector, out=out),
        "largest of each": lambda: torch.amax(matrix, 1, out=out),
        "sum of each": lambda: torch.sum(matrix, 1, out=out),
    }
    runs = {way: repeated(once, device) for way, once in ways.items()}
    fastest = min(runs, key=lambda way: _shortest_s(runs[way]))
    # What it computes on the way is none of its work.
    return Kernel("read", runs[fastest], matrix.nbytes, detail=f"float32, {rows} rows, {fastest}")


def _shortest_s(run: Callable[[int], None]) -> float:
    """Seconds of the shortest of some runs, after one that pays for what the others find done."""
    run(1)
    taken: list[float] = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        run(1)
        taken.append(time.perf_counter() - start)
    return min(taken)


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
