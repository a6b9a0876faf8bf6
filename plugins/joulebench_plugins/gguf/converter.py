"""The converter ``gguf-import``: from one GGUF file to a checkpoint folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, ModelFile, Option, Settings, distribution_versions, require_modules
from joulebench.errors import ArtifactError
from joulebench.weightkit import counted
from joulebench_plugins.shared.tensors.gguf import file_type_name, gguf_in, read_model

#: ``general.architecture`` and the ``config.json`` name of the one family that is understood.
_ARCHITECTURES: Final = ("llama", "LlamaForCausalLM")

#: Number types that the file and the checkpoint call by different names.
_TYPE_WORDS: Final = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}


class GgufImport(Converter):
    """Dequantizes a GGUF file and writes safetensors, configuration and tokenizer.

    The weights are what the quantized file holds, exactly as far as the target type can say it:
    a model that was quantized before stays as good or as bad as that quantization left it.
    """

    name = "gguf-import"
    summary = "GGUF file (llama type, byte-level BPE) to a Hugging Face checkpoint"
    source = "gguf"
    target = "hf"
    options = (
        Option(
            "dtype", "str", "bfloat16", "number type of the written weights", choices=("bfloat16", "float32", "float16")
        ),
    )

    def available(self) -> Availability:
        """Needs the ``gguf`` and ``tokenizers`` packages and numpy; no model runtime."""
        return require_modules(("gguf", "numpy", "tokenizers"), "torch")

    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that read and write the model."""
        return distribution_versions(("gguf", "numpy", "tokenizers"))

    def supports(self, architecture: str | None) -> str | None:
        """Only llama-type models; an unknown architecture is checked when the file is read."""
        if architecture is None or architecture in _ARCHITECTURES:
            return None
        return f"imports llama-type GGUF files only, not '{architecture}'"

    def describe(self, source: Path) -> ModelFile:
        """Read from the header: metadata, and the types of the tensors."""
        from joulebench_plugins.gguf.describing import describe_model

        return describe_model(gguf_in(source))

    def check(self, source: Path) -> str | None:
        """Other models than plain llamas, and tokenizers that the importer does not know."""
        from joulebench_plugins.gguf.metadata import read_shape
        from joulebench_plugins.gguf.reading import GgufMetadata
        from joulebench_plugins.gguf.tokenizer import check_tokenizer

        file = GgufMetadata(gguf_in(source))
        try:
            read_shape(file)
            check_tokenizer(file)
        except ArtifactError as error:
            return error.what
        return None

    def note(self, source: Path, settings: Settings) -> str | None:
        """The type of the file (or of most of its weights, where it names none), if the checkpoint's is another."""
        written = str(settings.get("dtype", "bfloat16"))
        model = read_model(gguf_in(source))
        counts = counted((tensor.type, tensor.count) for tensor in model.tensors)
        if not counts:
            return None
        stored = (file_type_name(model.values) or max(counts, key=counts.__getitem__)).lower()
        return None if _TYPE_WORDS.get(stored, stored) == written else f"unpacked from {stored} to {written}"

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the checkpoint that ``source`` (a .gguf file or a folder with one) holds.

        Raises :class:`ModelError` for a missing or damaged file and
        :class:`~joulebench.errors.ArtifactError` for a model that is out of its scope.
        """
        from joulebench_plugins.gguf.metadata import config_of, read_shape, read_special_ids
        from joulebench_plugins.gguf.reading import GgufFile
        from joulebench_plugins.gguf.tokenizer import write_tokenizer
        from joulebench_plugins.gguf.weights import write_weights

        file = GgufFile(gguf_in(source))
        shape, ids = read_shape(file), read_special_ids(file)
        dtype = str(settings.get("dtype", "bfloat16"))
        # The tokenizer first: it is what is most likely refused, and takes a second only.
        write_tokenizer(file, shape, output)
        write_weights(file, shape, output / "model.safetensors", dtype)
        _write_json(output / "config.json", config_of(shape, ids, dtype))
        _write_json(output / "generation_config.json", ids.config())


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
