"""What the written files say: values that a group of weights takes, zeros, patterns, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from joulebench.api import Scalar
from joulebench.weightkit import patterns


def levels(before: Path, after: Path, group: int, bits: int) -> Mapping[str, Scalar]:
    """Different values in each group of the changed matrices, and how many of their weights are other than before."""
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
        "values_hold": 0 < most <= 2**bits,
        "changed_fraction": changed / total if total else 0.0,
        "left_alone": _left_alone(before, after),
        **_sizes(before, after),
    }


def zeros(before: Path, after: Path, pattern: tuple[int, int] | None) -> Mapping[str, Scalar]:
    """Zeros in the changed matrices, and whether every group keeps to the pattern."""
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
        "left_alone": _left_alone(before, after),
    }
    if pattern is not None:
        evidence |= {"pattern_groups": checked, "pattern_holds": matrices > 0 and broken == 0}
    return evidence | _sizes(before, after)


def _pairs(before: Path, after: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each matrix that the library has changed, before and after."""
    for _, old, new in _matrices(before, after):
        if not torch.equal(old, new):
            yield old, new


def _left_alone(before: Path, after: Path) -> str:
    """Names of the matrices that it has not changed."""
    return patterns(name for name, old, new in _matrices(before, after) if torch.equal(old, new))


def _matrices(before: Path, after: Path) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Each matrix by its name, before and after."""
    files = {name: file for file in sorted(before.glob("*.safetensors")) for name in _names(file)}
    for file in sorted(after.glob("*.safetensors")):
        for name in _names(file):
            if name in files:
                old, new = _tensor(files[name], name), _tensor(file, name)
                if new.ndim == 2:
                    yield name, old, new


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
