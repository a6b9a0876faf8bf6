"""What a user's own ONNX model is, in the words of a ``config.json`` and in a line for people."""

from __future__ import annotations

from pathlib import Path

from joulebench.api import ModelFile
from joulebench_plugins.onnx.decoderfiles import TOKENIZER_FILE, companion, find_decoder, known_config
from joulebench_plugins.onnx.graphfacts import graph_facts, weight_files


def describe_model(path: Path) -> ModelFile:
    """Read the graphs' headers. Raises :class:`~joulebench.errors.ModelError` for a model that is not whole."""
    decoder = find_decoder(path)
    facts = graph_facts(decoder)
    weights = () if facts is None else weight_files(decoder, facts)
    files = (*decoder.graphs, *weights)
    tokenizer = companion(decoder.graph, TOKENIZER_FILE)
    numbers = "number types not known without the package onnx"
    if facts is not None:
        bits = "" if facts.bits_per_weight is None else f", {facts.bits_per_weight:.2f} bits per weight"
        numbers = (facts.weight_types or "no weights") + bits
    return ModelFile(
        files=files,
        size_bytes=sum(file.stat().st_size for file in files),
        config=known_config(decoder.graph),
        numbers=numbers,
        quantization=None if facts is None else facts.quantization,
        beside=None if tokenizer is None else tokenizer.parent,
    )


def file_fault(path: Path) -> str | None:
    """Why the graphs of a model are no decoder that can be run, or ``None``."""
    facts = graph_facts(find_decoder(path))
    return None if facts is None else facts.fault
