"""For plugin authors: contracts, a tiny model, stub sensors, the virtual rail."""

from __future__ import annotations

from joulebench.testing.contracts import (
    BackendContract,
    BrokenContractError,
    ConverterContract,
    ProbeContract,
    RendererContract,
    Subject,
    TechniqueContract,
    WorkloadContract,
)

__all__ = [
    "BackendContract",
    "BrokenContractError",
    "ConverterContract",
    "ProbeContract",
    "RendererContract",
    "Subject",
    "TechniqueContract",
    "WorkloadContract",
]
