"""Compressions that act while a model runs; those of models on disk are in :mod:`joulebench.api.artifacts`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from joulebench.api.artifacts import ArtifactTechnique
from joulebench.api.backend import BackendSession
from joulebench.api.plugin import Plugin
from joulebench.api.values import Scalar, Settings


class RuntimeTechnique(Plugin):
    """A compression that acts while the model runs, through options of the backend's session."""

    #: Always ``runtime``.
    stage: ClassVar[Literal["runtime"]] = "runtime"
    #: Capabilities that a backend must declare for this technique (such as ``kv.quantized``).
    requires: ClassVar[frozenset[str]]

    @abstractmethod
    def session_options(self, settings: Settings) -> Settings:
        """Options merged into those given to :meth:`Backend.open`.

        They are options that the backend declares; where it lacks one, or that value of it, the
        cell is skipped with that reason.
        """

    @abstractmethod
    def evidence(self, session: BackendSession, settings: Settings) -> Mapping[str, Scalar]:
        """The observed effects in the open session after a block (KV bytes allocated, dtypes)."""


Technique = ArtifactTechnique | RuntimeTechnique
