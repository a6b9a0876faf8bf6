"""Runs llama.cpp's own converter on a checkpoint, in an environment that has it."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from joulebench.checkpoint import INDEX_FILE, architecture_of, read_config, weight_files
from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.gguf.configuration import read_optional
from joulebench_plugins.gguf.oldernames import completed, unlike_fault, with_older_names
from joulebench_plugins.gguf.packing import Packing, pack_while_writing
from joulebench_plugins.shared.tensors.gguf import VOCABULARY_FAULT
from joulebench_plugins.shared.tensors.integers import IntegerFile

#: What the gguf package calls a file of each type.
_FILE_TYPES: Final = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16"}
#: Files by which a checkpoint has a tokenizer.
_TOKENIZERS: Final = ("tokenizer*", "*vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json")
#: What the converter reads beside the weights; code and pickles are not among it.
_READ: Final = frozenset({".json", ".txt", ".model", ".tiktoken", ".jinja"})
_CONFIG: Final = "config.json"
_EMBEDDING: Final = "token_embd.weight"


def convert_checkpoint(source: Path, target: Path, dtype: str, integers: IntegerFile | None = None) -> None:
    """Write the checkpoint ``source`` as the GGUF file ``target``, a tensor in memory at a time.

    Matrices that ``integers`` stand for are written in blocks of them, which stay in memory until the file is written.

    Raises :class:`ModelError` for a damaged checkpoint or one that brings code, :class:`ArtifactError`
    where the converter refuses it or fails.
    """
    config = read_config(source)
    _refuse_code(source)
    if fault := unlike_fault(config, architecture_of(config)):
        raise ArtifactError(fault, where=str(source / "config.json"))
    config = with_older_names(config, architecture_of(config))
    # Nothing may be fetched: names in a configuration lead to the hub otherwise.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    packing = None if integers is None else Packing(source, integers)
    upstream = _upstream()
    with _view(source, config) as folder, _completed(upstream, config), _inference():
        try:
            model = _model(upstream, folder, target, dtype, str(config.get("model_type")))
            # The class for Mistral 3 only hands on to another.
            inner = getattr(model, "impl", model)
            _keep_vocabulary_optional(inner, source)
            if packing is not None:
                pack_while_writing(inner, packing, upstream.base.gguf)
            model.write()
        except (ModelError, ArtifactError, MemoryError):
            raise
        except Exception as error:  # whatever upstream's code for an architecture trips over
            raise ArtifactError(f"llama.cpp's converter fails on it: {_text_of(error)}", where=str(source)) from error


def _upstream() -> Any:
    """The package ``conversion``, with the tables of its own ``gguf``."""
    gguf: Any = importlib.import_module("gguf")
    for name in ("MODEL_ARCH", "MODEL_TENSOR"):
        if not isinstance(getattr(gguf, name), _Table):
            setattr(gguf, name, _Table(getattr(gguf, name)))
    return importlib.import_module("conversion")


@contextmanager
def _completed(upstream: Any, config: dict[str, Any]) -> Iterator[None]:
    """Let the converter read the configuration with the names that it asks for."""
    load = upstream.ModelBase.load_hparams

    def load_hparams(*arguments: Any, **named: Any) -> dict[str, Any]:
        return completed(load(*arguments, **named), config)

    upstream.ModelBase.load_hparams = staticmethod(load_hparams)
    try:
        yield
    finally:
        upstream.ModelBase.load_hparams = staticmethod(load)


def _model(upstream: Any, folder: Path, target: Path, dtype: str, title: str) -> Any:
    """Upstream's object for the checkpoint."""
    name = upstream.get_model_architecture(upstream.ModelBase.load_hparams(folder, False), upstream.ModelType.TEXT)
    kind = upstream.get_model_class(name)
    if kind.model_arch is None:
        raise ArtifactError(f"this release of the converter lacks its own tables for '{name}'", where=str(folder))
    # Heads that draft further tokens are left out: no draft is run.
    kind.no_mtp = kind.supports_mtp_export
    file_type = upstream.base.gguf.LlamaFileType[_FILE_TYPES[dtype]]
    return kind(folder, file_type, target, model_name=title)


class _Table:
    """One of upstream's enumerations, whose missing members are ``None``.

    Release 0.1.1 has modules that name members which its own tables lack; the other classes of those
    modules work.
    """

    def __init__(self, members: Any) -> None:
        self._members = members

    def __getattr__(self, name: str) -> Any:
        return getattr(self._members, name, None)


def _refuse_code(source: Path) -> None:
    """The converter would let a tokenizer run code of its own (``trust_remote_code=True``)."""
    file = source / "tokenizer_config.json"
    if "auto_map" in read_optional(file):
        raise ModelError(
            "asks to run code of its own (auto_map); remote code is never run",
            where=str(file),
            hint="use a checkpoint whose tokenizer transformers knows by itself",
        )


@contextmanager
def _view(source: Path, config: dict[str, Any]) -> Iterator[Path]:
    """A folder ``model`` with ``config`` and links to what else the converter may read.

    The converter takes weights by the beginning of their names, pickles where it finds no others, and
    metadata from the folder's name and the model card.
    """
    with tempfile.TemporaryDirectory(prefix="joulebench-") as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        weights = weight_files(source)
        for file in source.iterdir():
            if file.suffix in _READ and file.name != _CONFIG and file.is_file():
                (folder / file.name).symlink_to(file.resolve())
        (folder / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
        indexed = (source / INDEX_FILE).is_file()
        for number, file in enumerate(weights, 1):
            name = file.name if indexed else f"model-{number:05d}-of-{len(weights):05d}.safetensors"
            (folder / name).symlink_to(file.resolve())
        if not _has_tokenizer(source):
            # Gemma 3's embedding is cut to as many rows as its tokenizer has, whose vocabulary is counted.
            rows = [0] * int(config.get("vocab_size") or 0)
            (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": rows}, "added_tokens": []}))
        yield folder


@contextmanager
def _inference() -> Iterator[None]:
    import torch

    with torch.inference_mode():
        yield


def _keep_vocabulary_optional(model: Any, source: Path) -> None:
    """Leave the vocabulary out where there is none, or none that the converter can write.

    joulebench feeds the ids of the checkpoint's own tokenizer; the file's is for other programs.
    """
    own = model.set_vocab
    has_tokenizer = _has_tokenizer(source)

    def set_vocab() -> None:
        before = dict(model.gguf_writer.kv_data[0])
        fault = "the checkpoint has no tokenizer"
        if has_tokenizer:
            try:
                own()
                return
            except Exception as error:  # a tokenizer unknown to upstream, a file of it that is missing
                fault = _text_of(error)
        model.gguf_writer.kv_data[0] = before
        print(f"no vocabulary: {fault}", file=sys.stderr)
        model._set_vocab_none()
        model.gguf_writer.add_vocab_size(_embedding_rows(model.gguf_writer, source))
        model.gguf_writer.add_string(VOCABULARY_FAULT, fault)

    model.set_vocab = set_vocab


def _has_tokenizer(source: Path) -> bool:
    return any(any(source.glob(pattern)) for pattern in _TOKENIZERS)


def _embedding_rows(writer: Any, source: Path) -> int:
    """Rows of the embedding as it is written: some of upstream's classes cut it."""
    for tensors in writer.tensors:
        if _EMBEDDING in tensors:
            return int(tensors[_EMBEDDING].shape[0])
    raise ModelError("has no embedding of tokens", where=str(source))


def _text_of(error: BaseException) -> str:
    """An error in a line: the name of its class, and what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
