"""Memory of each cell as the kernel sees it, with the runtime's own account beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Paragraph, Section, table
from joulebench_reports.values.figures import Memory
from joulebench_reports.words.text import data_size

_NOTE: Final = (
    "After the last block, as the kernel counts it: anonymous memory belongs to the process alone; "
    "mapped pages of the model's own files (weights that were not copied) can be dropped and read "
    "again; other files are programs and libraries. Beside it what the runtime says it holds. "
    "“unaccounted” is anonymous memory and the model's pages less the runtime's account: copies, "
    "interpreter and heaps; below zero, the runtime holds pages that were never touched."
)
_HEADINGS: Final = (
    "cell",
    "peak RSS",
    "PSS",
    "anonymous",
    "model's files",
    "other files",
    "runtime: weights",
    "KV allocated",
    "KV used",
    "workspace",
    "unaccounted",
    "device peak",
)


def memory_section(material: Material) -> Iterator[Section]:
    """A row for each cell of which any memory is known."""
    sizes = ((cell.label, _sizes_bytes(cell.memory)) for cell in material.summary.shown)
    rows = [(label, *map(data_size, own)) for label, own in sizes if any(size_bytes is not None for size_bytes in own)]
    if rows:
        yield Section("memory", "Memory", (Paragraph(_NOTE), table(_HEADINGS, rows, numeric_from=1)), "Memory")


def unaccounted_bytes(memory: Memory) -> int | None:
    """Anonymous memory and mapped pages of the model less what the runtime accounts for, in bytes.

    ``None`` where the kernel's figures or the weights are unknown, or the model lies on a device.
    """
    anonymous, mapped, weights = (memory.rss_anon_bytes, memory.rss_model_bytes, memory.weights_bytes)
    if anonymous is None or mapped is None or weights is None or memory.device_peak_bytes:
        return None
    accounted = weights + (memory.kv_allocated_bytes or 0) + (memory.workspace_bytes or 0)
    return anonymous + mapped - accounted


def _sizes_bytes(memory: Memory) -> tuple[int | None, ...]:
    return (
        memory.rss_peak_bytes,
        memory.pss_bytes,
        memory.rss_anon_bytes,
        memory.rss_model_bytes,
        _other_files_bytes(memory),
        memory.weights_bytes,
        memory.kv_allocated_bytes,
        memory.kv_used_bytes,
        memory.workspace_bytes,
        unaccounted_bytes(memory),
        memory.device_peak_bytes,
    )


def _other_files_bytes(memory: Memory) -> int | None:
    if memory.rss_file_bytes is None or memory.rss_model_bytes is None:
        return None
    # A page of the model that is mapped twice is in both figures twice.
    return memory.rss_file_bytes - memory.rss_model_bytes
