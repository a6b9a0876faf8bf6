"""The contracts: a test class for each kind of plugin, which its author subclasses.

One fixture, ``plugin``, gives the plugin under test (or a :class:`Subject`, with settings)::

    import pytest
    from joulebench.testing import BackendContract

    class TestMine(BackendContract):
        @pytest.fixture
        def plugin(self):
            return MyBackend()

``joulebench plugin check`` runs the same classes on installed plugins, without pytest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from joulebench.testing.contracts.backend import BackendContract
from joulebench.testing.contracts.base import BrokenContractError, PluginContract, SkippedError, Subject
from joulebench.testing.contracts.converter import ConverterContract
from joulebench.testing.contracts.probe import ProbeContract
from joulebench.testing.contracts.renderer import RendererContract
from joulebench.testing.contracts.technique import (
    ArtifactTechniqueContract,
    RuntimeTechniqueContract,
    TechniqueContract,
)
from joulebench.testing.contracts.workload import WorkloadContract

#: The contract of each kind.
CONTRACTS: Final[Mapping[str, type[PluginContract]]] = {
    contract.kind: contract
    for contract in (
        BackendContract,
        TechniqueContract,
        ConverterContract,
        ProbeContract,
        WorkloadContract,
        RendererContract,
    )
}

__all__ = [
    "CONTRACTS",
    "ArtifactTechniqueContract",
    "BackendContract",
    "BrokenContractError",
    "ConverterContract",
    "PluginContract",
    "ProbeContract",
    "RendererContract",
    "RuntimeTechniqueContract",
    "SkippedError",
    "Subject",
    "TechniqueContract",
    "WorkloadContract",
]
