"""Traces one decode step with a static cache and lowers it, by the exporter of transformers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from executorch.runtime import Runtime
from torch.fx import _pytree as fx_pytree
from transformers import StaticCache
from transformers.exporters.configs import ExecutorchConfig
from transformers.exporters.exporter_executorch import ExecutorchExporter
from transformers.exporters.metadata import ExportMetadata, load_treespec
from transformers.exporters.runners.runner_executorch import ExecutorchModelRunner

from joulebench_plugins.executorch.program import PROGRAM, Interface
from joulebench_plugins.shared.exporters.tracing import (
    CACHE,
    forward_arguments,
    load_causal,
    untraceable,
    vocabulary_size,
    without_state,
)


def export(source: Path, output: Path, cache_tokens: int) -> None:
    """Write the program, its interface and ``config.json``; raises :class:`ArtifactError`."""
    model = load_causal(source)
    try:
        exported = ExecutorchExporter().export(model, _sample(model, cache_tokens), ExecutorchConfig(backend="xnnpack"))
        component = exported.components["model"]
        ExecutorchExporter.save_program(component.program, output / PROGRAM)
    except Exception as error:  # torch, transformers and executorch have no common class of theirs
        raise untraceable(model, "ExecuTorch", source, error) from error
    sample = _sample(model, cache_tokens)
    places = _places(output / PROGRAM, component.metadata, sample)
    if places is None:
        raise without_state(model, source)
    tokens, positions, logits, cache = places
    delegated, portable = _operators(component.program)
    held = {tensor.untyped_storage().data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}
    Interface(
        tokens=tokens,
        positions=positions,
        logits=logits,
        cache=cache,
        context_tokens=min(cache_tokens, _context(model) or cache_tokens),
        vocabulary_size=vocabulary_size(model),
        weights_bytes=sum(held.values()),
        delegated_parts=delegated,
        portable_operators=portable,
    ).write(output)
    shutil.copyfile(source / "config.json", output / "config.json")


def _sample(model: Any, cache_tokens: int) -> dict[str, Any]:
    """Arguments of a step on an empty static cache, whose tensors are there already."""
    cache = StaticCache(config=model.config, max_cache_len=cache_tokens)
    token = torch.zeros((1, 1), dtype=torch.long)
    with torch.no_grad():
        model(input_ids=token, use_cache=True, **{CACHE: cache})  # gives each layer's tensors their shapes
    cache.reset()
    sample = {"input_ids": token, CACHE: cache, "use_cache": True}
    if "position_ids" in forward_arguments(model):
        sample["position_ids"] = torch.zeros((1, 1), dtype=torch.long)
    return sample


def _operators(program: Any) -> tuple[int, int]:
    """How many parts of a lowered program a delegate runs, and how many operators the runtime itself."""
    names = [
        str(getattr(node.target, "__name__", node.target))
        for node in program.exported_program().graph.nodes
        if node.op == "call_function"
    ]
    delegated = sum("call_delegate" in name for name in names)
    passive = sum(any(word in name for word in ("getitem", "alloc", "call_delegate")) for name in names)
    return delegated, len(names) - passive


def _context(model: Any) -> int | None:
    limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


def _places(
    program: Path, metadata: ExportMetadata, sample: dict[str, Any]
) -> tuple[int, int | None, int, tuple[tuple[int, int], ...]] | None:
    """Where a program has tokens, positions, logits and the cache, found by running a step; ``None`` without a cache.

    Values are told by identity: inputs are laid out as the tracer laid them out, outputs are put back together.
    """
    method = Runtime.get().load_program(program).load_method("forward")
    inputs = fx_pytree.tree_flatten_spec(((), {**metadata.in_constants, **sample}), load_treespec(metadata.in_spec))
    outputs = list(method.execute([None if isinstance(value, str) else value for value in inputs]))
    runner = ExecutorchModelRunner.__new__(ExecutorchModelRunner)
    super(ExecutorchModelRunner, runner).__init__(metadata)
    result = runner.unflatten(outputs)
    before = torch.utils._pytree.tree_leaves(sample[CACHE])
    after = torch.utils._pytree.tree_leaves(result[CACHE]) if CACHE in result else []
    if not before or len(before) != len(after):
        return None
    cache = tuple((_place(inputs, old), _place(outputs, new)) for old, new in zip(before, after, strict=True))
    positions = _place(inputs, sample["position_ids"]) if "position_ids" in sample else None
    return _place(inputs, sample["input_ids"]), positions, _place(outputs, result["logits"]), cache


def _place(values: Sequence[Any], value: Any) -> int:
    """Where this very object stands."""
    return next(place for place, other in enumerate(values) if other is value)
