"""For plugin authors: contracts, a tiny model, stub sensors, the virtual rail."""

from __future__ import annotations

from joulebench.testing.contracts import (
    ArtifactTechniqueContract,
    BackendContract,
    BrokenContractError,
    ConverterContract,
    ProbeContract,
    RendererContract,
    RuntimeTechniqueContract,
    Subject,
    TechniqueContract,
    WorkloadContract,
)

__all__ = [
    "ArtifactTechniqueContract",
    "BackendContract",
    "BrokenContractError",
    "ConverterContract",
    "ProbeContract",
    "RendererContract",
    "RuntimeTechniqueContract",
    "Subject",
    "TechniqueContract",
    "WorkloadContract",
]
