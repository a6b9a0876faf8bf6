"""What a plugin sees: the values it exchanges with the host and the classes it implements.

Everything here is light to import (standard library only): a plugin's module is imported by
every command, so it must keep its heavy imports inside the methods that need them.

Units stand in names (``_s``, ``_j``, ``_w``, ``_bytes``, ``_c``, ``_ns``). Unknown is ``None``,
never 0.
"""

from joulebench.api.artifacts import Artifact, ArtifactTechnique, Converter, ModelFile
from joulebench.api.availability import Availability, distribution_versions, require_modules
from joulebench.api.backend import (
    Arrival,
    Backend,
    BackendSession,
    Device,
    Kernel,
    MemoryUse,
    ModelTokenizer,
    Served,
    SimulatedCost,
    Traffic,
)
from joulebench.api.commands import CommandSection, examples, in_section, section_of
from joulebench.api.plugin import ENVIRONMENT_NAME, Environment, Plugin
from joulebench.api.probe import Accuracy, Channel, FileSource, Probe, ReaderSource, provenance_of_file
from joulebench.api.renderer import FinishedCell, Renderer
from joulebench.api.techniques import RuntimeTechnique, Technique
from joulebench.api.values import (
    API_VERSION,
    PROVENANCES,
    Option,
    OptionType,
    OptionValue,
    Provenance,
    Quantity,
    Scalar,
    Settings,
)
from joulebench.api.workload import BATCH, Outcome, Recorder, Request, Workload, WorkloadContext

__all__ = [
    "API_VERSION",
    "BATCH",
    "ENVIRONMENT_NAME",
    "PROVENANCES",
    "Accuracy",
    "Arrival",
    "Artifact",
    "ArtifactTechnique",
    "Availability",
    "Backend",
    "BackendSession",
    "Channel",
    "CommandSection",
    "Converter",
    "Device",
    "Environment",
    "FileSource",
    "FinishedCell",
    "Kernel",
    "MemoryUse",
    "ModelFile",
    "ModelTokenizer",
    "Option",
    "OptionType",
    "OptionValue",
    "Outcome",
    "Plugin",
    "Probe",
    "Provenance",
    "Quantity",
    "ReaderSource",
    "Recorder",
    "Renderer",
    "Request",
    "RuntimeTechnique",
    "Scalar",
    "Served",
    "Settings",
    "SimulatedCost",
    "Technique",
    "Traffic",
    "Workload",
    "WorkloadContext",
    "distribution_versions",
    "examples",
    "in_section",
    "provenance_of_file",
    "require_modules",
    "section_of",
]
