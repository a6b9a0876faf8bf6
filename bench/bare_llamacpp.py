"""llama.cpp's own loop: compiled C on the very context that the backend's session holds."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Bare:
    """Steps in C; the prompt is read by the session, whose KV cache the loop goes on with."""

    name = "llama_decode in C"

    def __init__(self, session: Any) -> None:
        self._session = session
        self._context = session._decoder._context
        library = _compiled()
        self._steps = library.bare_steps
        self._steps.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p]

    def prefill(self, tokens: Sequence[int]) -> int:
        self._session.reset()
        first: int = self._session.prefill(tokens)
        return first

    def steps(self, first: int, count: int) -> list[int]:
        written = (ctypes.c_int32 * count)()
        code = self._steps(self._context, self._session.vocabulary_size, first, count, written)
        if code:
            sys.exit(f"llama_decode returned {code}")
        return list(written)


def _compiled() -> ctypes.CDLL:
    import llama_cpp

    # llama-cpp-python installs the header and the libraries it was built with beside itself.
    library = Path(llama_cpp.__file__).parent / "lib"
    include = next(
        (folder for folder in Path(llama_cpp.__file__).parents if (folder / "include/llama.h").is_file()), None
    )
    if include is None:
        sys.exit("llama.h is not installed beside llama_cpp: it takes llama-cpp-python")
    made = Path(tempfile.mkdtemp(prefix="joulebench-bench-")) / "bare_llama.so"
    subprocess.run(
        [
            "cc",
            "-O3",
            "-march=native",
            "-ffast-math",
            "-shared",
            "-fPIC",
            "-o",
            made,
            Path(__file__).with_name("bare_llama.c"),
            f"-I{include / 'include'}",
            f"-L{library}",
            "-lllama",
            f"-Wl,-rpath,{library}",
        ],
        check=True,
    )
    return ctypes.CDLL(str(made))
