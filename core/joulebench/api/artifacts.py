"""Models on disk, and what turns one into another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from joulebench.api.plugin import Plugin
from joulebench.api.values import Scalar, Settings


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model on disk in one format (``hf``: a folder with config.json and safetensors).

    ``content_hash`` is the sha256 over names and contents of its files; ``lineage`` lists the
    steps that made it, oldest first. ``parts`` are the further files of a model that is split, of
    which ``path`` is the first.
    """

    #: Name of the format, as converters and backends state it.
    format: str
    #: The folder, or the file itself where the format is one file.
    path: Path
    #: sha256 over names and contents of its files.
    content_hash: str
    #: Size of its files.
    size_bytes: int
    #: Steps that made it, oldest first.
    lineage: tuple[str, ...] = ()
    #: The other files of a split model.
    parts: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a model file says of itself: what the plan shows and checks before anything opens it.

    ``files`` are its parts, the first of which names it. ``config`` is as ``config.json`` would
    state it, as far as the format tells; ``architectures`` is in it.
    """

    #: Its parts, the first of which names it.
    files: tuple[Path, ...]
    #: Size of all parts.
    size_bytes: int
    #: What its header says, as ``config.json`` would.
    config: Mapping[str, object]
    #: How its numbers are stored, in words: ``Q4_K_M, 5.10 bits per weight``.
    numbers: str
    #: The name of that type where the weights are quantized; ``None`` where they are not.
    quantization: str | None = None
    #: Whether it brings a tokenizer of its own.
    tokenizer: bool = False
    #: The folder whose ``tokenizer.json`` belongs to it, where that lies apart.
    beside: Path | None = None


class Converter(Plugin):
    """Turns an artifact of one format into another. Runs in its own process."""

    #: Format that it reads.
    source: ClassVar[str]
    #: Format that it writes.
    target: ClassVar[str]
    #: How the file that names a model of that format ends (``xml``), if not as the format is called.
    target_ending: ClassVar[str | None] = None

    def supports(self, architecture: str | None) -> str | None:
        """Why a model of this ``config.json`` architecture cannot be converted, or ``None``."""
        return None

    def architectures(self) -> frozenset[str] | None:
        """The ``config.json`` architectures that it knows; ``None`` where only :meth:`supports` can say.

        Asked where the converter works (``environment_needs``), unlike :meth:`supports`: for a list
        that a library brings. It must be quick: read it from a file of the library, import nothing heavy.
        """
        return None

    def describe(self, source: Path) -> ModelFile | None:
        """What a model of the source format says of itself, read from its header without opening it.

        A format that no converter reads is asked of the one that writes it. Asked by the plan, also where
        the converter is not available: it must be quick and import nothing heavy. Raises
        :class:`~joulebench.errors.ModelError` for a model that is not whole.
        """
        return None

    def check(self, source: Path) -> str | None:
        """Why this very model cannot be converted, as far as its header tells, or ``None``."""
        return None

    def note(self, source: Path, settings: Settings) -> str | None:
        """What becomes of the weights' numbers, such as ``unpacked from q4_1 to bfloat16``.

        ``None`` where they stay what they are. The plan and reports show it; it must be quick.
        """
        return None

    @abstractmethod
    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the converted model into the empty folder ``output``.

        ``source`` is the source artifact's path. A partial result is discarded by the host when
        this raises.
        """


class ArtifactTechnique(Plugin):
    """A compression that rewrites a model on disk. Runs in its own process.

    ``stage`` is ``checkpoint`` (HF weights to HF weights, so it reaches every backend) or
    ``artifact`` (a format to a format).
    """

    #: ``checkpoint``: HF weights to HF weights; ``artifact``: a format to a format.
    stage: ClassVar[Literal["checkpoint", "artifact"]]
    #: Format that it reads.
    accepts: ClassVar[str]
    #: Format that it writes.
    produces: ClassVar[str]

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Why these settings do not fit a model of this ``config.json``, or ``None``."""
        return None

    def config_after(self, settings: Settings, config: Mapping[str, object]) -> Mapping[str, object] | None:
        """``config.json`` of the result, from that of the source; ``None`` if it is not known beforehand.

        Later steps of a chain are checked against it.
        """
        return config

    @abstractmethod
    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the compressed model into the empty folder ``output``."""

    @abstractmethod
    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """The observed changes (zero fraction, dtypes, bytes), read from the files."""
