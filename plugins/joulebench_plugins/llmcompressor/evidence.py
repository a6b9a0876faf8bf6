"""What the written files say: values that a group of weights takes, zeros, patterns, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from joulebench.api import Scalar

#: The matrices that are compressed are those of the layers.
_LAYERS = "model.layers."


def levels(before: Path, after: Path, group: int, bits: int) -> Mapping[str, Scalar]:
    """Different values in each group, and how many weights are other than before."""
    matrices = groups = most = changed = total = 0
    for old, new in _pairs(before, after):
        # Neighbours that differ, after sorting: one less than the different values.
        ordered = new.reshape(-1, group).sort(1).values
        different = (ordered.diff(dim=1) != 0).sum(1) + 1
        matrices, groups = matrices + 1, groups + len(different)
        most = max(most, int(different.max()))
        changed, total = changed + int((old != new).sum()), total + new.numel()
    return {
        "quantized_matrices": matrices,
        "groups": groups,
        "most_values_in_a_group": most,
        "values_hold": most <= 2**bits,
        "changed_fraction": changed / total if total else None,
        **_sizes(before, after),
    }


def zeros(before: Path, after: Path, pattern: tuple[int, int] | None) -> Mapping[str, Scalar]:
    """Zeros in the layers' matrices, and whether every group keeps to the pattern."""
    matrices = were = zeros_after = total = checked = broken = 0
    for old, new in _pairs(before, after):
        matrices, total = matrices + 1, total + new.numel()
        were, zeros_after = were + int((old == 0).sum()), zeros_after + int((new == 0).sum())
        if pattern is not None:
            held = (new.reshape(-1, pattern[1]) != 0).sum(1)
            checked, broken = checked + len(held), broken + int((held > pattern[0]).sum())
    evidence: dict[str, Scalar] = {
        "pruned_matrices": matrices,
        "zero_fraction": zeros_after / total if total else None,
        "zero_fraction_before": were / total if total else None,
    }
    if pattern is not None:
        evidence |= {"pattern_groups": checked, "pattern_holds": broken == 0}
    return evidence | _sizes(before, after)


def _pairs(before: Path, after: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each matrix of a layer before and after."""
    old = {name: file for file in sorted(before.glob("*.safetensors")) for name in _names(file)}
    for file in sorted(after.glob("*.safetensors")):
        for name in _names(file):
            if name.startswith(_LAYERS) and name in old:
                was, now = _tensor(old[name], name), _tensor(file, name)
                if now.ndim == 2:
                    yield was, now


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _tensor(file: Path, name: str) -> torch.Tensor:
    with safe_open(file, framework="pt") as opened:
        tensor: torch.Tensor = opened.get_tensor(name)
        return tensor


def _sizes(before: Path, after: Path) -> dict[str, Scalar]:
    return {
        f"weights_bytes_{word}": sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        for word, folder in (("before", before), ("after", after))
    }
