"""What llama.cpp says through its log callback: errors, and the sizes of what it allocates.

The library has no call for the sizes of its buffers; it logs them once, when they are made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

# ggml.h, enum ggml_log_level
_DEBUG: Final = 1
_ERROR: Final = 4
_CONTINUED: Final = 5
_KEPT_ERRORS: Final = 4

_MIB: Final = 2**20
#: Smallest difference between two sizes that the library can print: a hundredth of a MiB.
PRINTED_BYTES: Final = _MIB / 100
_BUFFER: Final = re.compile(r"\b(model|KV|compute|output) buffer size = +([\d.]+) MiB")
#: Buffers of copies of matrices in the order of the CPU's own kernels (ggml-cpu, extra buffers).
_REPACKED: Final = re.compile(r"\b(?:CPU_REPACK|CPU_KLEIDIAI\w*|AMX) model buffer size = +([\d.]+) MiB")
#: A cache of keys and values: its cells, its layers, and its two types.
_KV: Final = re.compile(r"llama_kv_cache: size = +[\d.]+ MiB \( *(\d+) cells, +(\d+) layers.*K \((\w+)\).*V \((\w+)\)")
#: States of layers that have no keys and values (llama-memory-recurrent.cpp).
_STATE: Final = re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB")
_FLASH: Final = re.compile(
    r"flash_attn += (\w+)$|Flash Attention (enabled)|(enabling) flash_attn"
    r"|Flash Attention not supported, set to (disabled)"
)


class LibraryLog:
    """Keeps the log's lines; errors also go to standard error."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._level = _DEBUG
        self._line = ""

    def add(self, level: int, text: str) -> None:
        """A piece of the log; a line may come in several, marked as continued."""
        if level != _CONTINUED:
            self._level = level
        if self._level <= _DEBUG:
            return
        self._line += text
        while "\n" in self._line:
            line, _, self._line = self._line.partition("\n")
            self._keep(line)

    def _keep(self, line: str) -> None:
        if self._level == _ERROR:
            self.errors = [*self.errors[1 - _KEPT_ERRORS :], line.strip()]
            print(line, file=sys.stderr)
        self.lines.append(line)

    def last_errors(self) -> str:
        """The last lines that were errors, in one; empty if there was none."""
        return "; ".join(self.errors)


@dataclass(frozen=True, slots=True)
class Allocations:
    """What the library said that it allocated, to the hundredth of a MiB that it prints."""

    weights_bytes: int | None
    kv_bytes: int | None
    #: Buffers of intermediate results and of logits.
    workspace_bytes: int | None
    #: ``None`` also where the layers have caches of several sizes.
    kv_cells: int | None
    #: Layers with keys and values; ``None`` where some of them keep a window only.
    kv_layers: int | None
    kv_type_k: str | None
    kv_type_v: str | None
    flash_attention: bool | None
    #: Matrices that are kept in the order of the kernels, which some types get on a CPU.
    repacked_bytes: int | None = None
    #: States of recurrent layers, which are as large for any length; part of the workspace.
    state_bytes: int | None = None


def read_allocations(lines: Iterable[str]) -> Allocations:
    """Sum up the lines of one model and one context; ``None`` for what was not said."""
    sums: dict[str, float] = {}
    repacked = 0.0
    states: list[float] = []
    cells: set[int] = set()
    layers: list[int] = []
    kind_k = kind_v = flash = None
    for line in lines:
        if match := _BUFFER.search(line):
            sums[match[1]] = sums.get(match[1], 0.0) + float(match[2]) * _MIB
        if match := _REPACKED.search(line):
            repacked += float(match[1]) * _MIB
        if match := _KV.search(line):
            cells.add(int(match[1]))
            layers.append(int(match[2]))
            kind_k, kind_v = match[3], match[4]
        if match := _STATE.search(line):
            states.append(float(match[1]) * _MIB)
        if match := _FLASH.search(line.rstrip()):
            # Later lines correct earlier ones: "auto" is settled by a line of its own.
            word = next(group for group in match.groups() if group)
            flash = {"enabled": True, "enabling": True, "disabled": False}.get(word, flash)
    workspace = [*(sums[kind] for kind in ("compute", "output") if kind in sums), *states]
    if states and not cells:  # nothing but recurrent layers
        sums.setdefault("KV", 0.0)
    return Allocations(
        weights_bytes=_whole(sums.get("model")),
        kv_bytes=_whole(sums.get("KV")),
        workspace_bytes=_whole(sum(workspace)) if workspace else None,
        kv_cells=cells.pop() if len(cells) == 1 else None,
        kv_layers=layers[0] if len(layers) == 1 else None if layers or not states else 0,
        kv_type_k=kind_k,
        kv_type_v=kind_v,
        flash_attention=flash,
        repacked_bytes=_whole(repacked if "model" in sums else None),
        # Less than the library prints is unknown, not nothing.
        state_bytes=_whole(sum(states)) or None,
    )


def _whole(size: float | None) -> int | None:
    return None if size is None else round(size)
