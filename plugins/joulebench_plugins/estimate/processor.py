"""What the processor is called, and how much of it this system sees, from /proc/cpuinfo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Fields that say which processor it is. ARM kernels give the last four instead of a name.
_NAMES: Final = ("model name", "Hardware", "Model", "CPU implementer", "CPU part")


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor as this system sees it. ``cores`` counts hardware threads as what they share.

    ``is_virtual`` is ``None`` where it cannot be told: ARM has no flag for it.
    """

    description: str
    packages: int
    cores: int
    is_virtual: bool | None


def read_processor(proc: Path) -> Processor:
    """Read ``cpuinfo`` under ``proc`` (/proc)."""
    blocks = _blocks((proc / "cpuinfo").read_text(encoding="utf-8", errors="replace"))
    named = {key: block[key] for block in blocks for key in _NAMES if key in block}
    logical = [block for block in blocks if "processor" in block]
    packages = {block.get("physical id", "0") for block in logical}
    # Without topology (ARM) each processor is a core.
    cores = {(block.get("physical id", "0"), block.get("core id", block["processor"])) for block in logical}
    flags = logical[0].get("flags") if logical else None
    return Processor(
        description="; ".join(f"{key}: {value}" for key, value in named.items()),
        packages=max(1, len(packages)),
        cores=max(1, len(cores)),
        is_virtual=None if flags is None else "hypervisor" in flags.split(),
    )


def _blocks(text: str) -> list[dict[str, str]]:
    blocks: list[dict[str, str]] = []
    for part in text.split("\n\n"):
        pairs = (line.partition(":") for line in part.splitlines() if ":" in line)
        blocks.append({key.strip(): value.strip() for key, _, value in pairs})
    return blocks
