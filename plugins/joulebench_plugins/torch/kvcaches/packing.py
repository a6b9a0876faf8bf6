"""Numbers in 8, 4 or 2 bits: groups with a least value and a scale, packed into bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: Number type of scales and least values. Each is rounded so that no number falls out of its
#: group's range.
_SCALE: torch.dtype = torch.float16


@dataclass(frozen=True, slots=True)
class PackedStates:
    """Numbers of shape (…, size) in groups along one axis.

    ``codes`` is uint8 with 8 / bits numbers in each byte, along the last axis; ``low`` and
    ``scale`` are float16 with one value for each group. A number is low + scale × code.
    """

    codes: torch.Tensor
    low: torch.Tensor
    scale: torch.Tensor
    bits: int
    axis: int

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All that is stored."""
        return self.codes, self.low, self.scale

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """The numbers, in ``dtype``."""
        codes = unpack(self.codes, self.bits)
        groups = self.scale.shape[self.axis]
        parts = codes.unflatten(self.axis, (groups, codes.shape[self.axis] // groups))
        inside = self.axis % codes.ndim + 1
        low, scale = (tensor.to(dtype).unsqueeze(inside) for tensor in (self.low, self.scale))
        return torch.addcmul(low, parts.to(dtype), scale).flatten(inside - 1, inside)

    def with_more(self, later: PackedStates, along: int) -> PackedStates:
        """These numbers and later ones behind them, along an axis of whole groups."""
        codes, low, scale = (
            torch.cat((one, other), dim=along) for one, other in zip(self.tensors(), later.tensors(), strict=True)
        )
        return PackedStates(codes, low, scale, self.bits, self.axis)


def packed(numbers: torch.Tensor, bits: int, group: int, axis: int) -> PackedStates:
    """Round to the nearest of 2^bits values between each group's least and greatest.

    No number is off by more than half of its group's scale, beside the rounding of the number
    type that it is unpacked to. ``group`` divides the size along ``axis``.
    """
    inside = axis % numbers.ndim + 1
    parts = numbers.float().unflatten(axis, (-1, group))
    low = _down(parts.amin(inside))
    steps = 2**bits - 1
    scale = _up((parts.amax(inside) - low.float()) / steps)
    codes = (parts - low.float().unsqueeze(inside)) / scale.float().unsqueeze(inside)
    # A group of one value has a scale of 0, and its codes are 0 / 0.
    codes = codes.nan_to_num_(nan=0.0).round_().clamp_(0, steps).to(torch.uint8)
    return PackedStates(pack(codes.flatten(inside - 1, inside), bits), low, scale, bits, axis)


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes into bytes along the last axis: byte i holds number i of each equal part of it."""
    if bits == 8:
        return codes
    parts = codes.chunk(8 // bits, dim=-1)
    whole = parts[0].clone()
    for place, part in enumerate(parts[1:], start=1):
        whole |= part << (bits * place)
    return whole


def unpack(whole: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes out of bytes."""
    if bits == 8:
        return whole
    mask = 2**bits - 1
    return torch.cat([(whole >> (bits * place)) & mask for place in range(8 // bits)], dim=-1)


def _down(numbers: torch.Tensor) -> torch.Tensor:
    """The greatest float16 that is not greater."""
    rounded = numbers.to(_SCALE)
    lower = torch.nextafter(rounded, torch.full_like(rounded, float("-inf")))
    return torch.where(rounded.float() > numbers, lower, rounded)


def _up(numbers: torch.Tensor) -> torch.Tensor:
    """The least float16 that is not less."""
    return -_down(-numbers)
