"""The converter ``gguf-export``: from a checkpoint folder to one GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, Option, Settings, distribution_versions, require_modules
from joulebench.backendkit import asked_elsewhere
from joulebench.errors import JoulebenchError
from joulebench_plugins.shared.tensors.integers import PACK_CHOICES, IntegerFile

#: ``config.json`` name of the one family that is understood.
_ARCHITECTURE: Final = "LlamaForCausalLM"


class GgufExport(Converter):
    """Writes a llama-type checkpoint as a GGUF file, weights and tokenizer.

    Matrices get the type that ``dtype`` names, or Q4_0 or Q8_0 blocks where a technique has left
    their integers beside them (see ``pack``); vectors (norms, biases) stay float32, as llama.cpp
    needs them. A checkpoint without ``tokenizer.json`` becomes a file without a vocabulary, which
    runs on token ids.
    """

    name = "gguf-export"
    summary = "Hugging Face checkpoint (llama type) to a GGUF file"
    source = "hf"
    target = "gguf"
    options = (
        Option(
            "dtype", "str", "float32", "number type of the written matrices", choices=("float32", "bfloat16", "float16")
        ),
        Option(
            "pack",
            "str",
            "auto",
            "a quantized checkpoint's integers: as Q4_0 and Q8_0 blocks of the very same integers, "
            "or as floating-point numbers like the rest",
            choices=PACK_CHOICES,
        ),
    )

    def available(self) -> Availability:
        """Needs the ``gguf`` package and numpy; no model runtime."""
        return require_modules(("gguf", "numpy"), "llamacpp")

    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that write the model."""
        return distribution_versions(("gguf", "numpy"))

    def supports(self, architecture: str | None) -> str | None:
        """Only llama-type models; an unknown architecture is checked when the config is read."""
        if architecture is None or architecture == _ARCHITECTURE:
            return None
        return f"exports llama-type checkpoints only, not '{architecture}'"

    def check(self, source: Path) -> str | None:
        """Rotary positions, activations and tokenizers that are not exported; asked in another process."""
        answer = asked_elsewhere(
            "import json; from pathlib import Path; from joulebench_plugins.gguf.export import checkpoint_fault; "
            f"print(json.dumps(checkpoint_fault(Path({str(source)!r}))))"
        )
        return answer if isinstance(answer, str) else None

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``model.gguf`` into ``output``.

        Raises :class:`~joulebench.errors.ModelError` for a damaged checkpoint and
        :class:`~joulebench.errors.ArtifactError` for a model that is out of its scope.
        """
        from joulebench_plugins.gguf.configuration import frequency_factors, shape_of, special_ids
        from joulebench_plugins.gguf.vocabulary import read_vocabulary
        from joulebench_plugins.gguf.writing import write_gguf
        from joulebench_plugins.shared.tensors.arrays import Checkpoint

        checkpoint = Checkpoint(source)
        shape = shape_of(checkpoint)
        write_gguf(
            output / "model.gguf",
            checkpoint,
            shape,
            vocabulary=read_vocabulary(source, shape.vocab_size),
            ids=special_ids(checkpoint, shape.vocab_size),
            factors=frequency_factors(shape),
            dtype=str(settings.get("dtype", "float32")),
            integers=None if settings.get("pack") == "dense" else IntegerFile.beside(source),
        )


def checkpoint_fault(source: Path) -> str | None:
    """Why a checkpoint cannot be exported, as far as its JSON files and headers tell, or ``None``."""
    from joulebench_plugins.gguf.configuration import shape_of
    from joulebench_plugins.gguf.vocabulary import read_vocabulary
    from joulebench_plugins.shared.tensors.arrays import Checkpoint

    try:
        read_vocabulary(source, shape_of(Checkpoint(source)).vocab_size)
    except JoulebenchError as error:
        return error.what
    return None
