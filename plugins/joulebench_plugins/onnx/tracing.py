"""ONNX graphs of any causal model of transformers, by its own exporters.

A model whose cache holds keys and values alone becomes one graph: tokens after any number of positions, an
input that names the positions whose logits are wanted, and a cache that the runtime may write in place.
A model with other states (convolutions, scans) becomes the pair that transformers makes: one graph for
a prompt, one for a token after it; the first is kept only where it is right at other lengths than
the traced one.
"""

from __future__ import annotations

import inspect
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from joulebench.checkpoint import read_config
from joulebench.errors import ArtifactError
from joulebench_plugins.onnx.decoderfiles import CONFIG_FILE, PAIRS, DecoderFiles, find_decoder, text_config
from joulebench_plugins.onnx.graphfile import MODEL_FILE
from joulebench_plugins.onnx.llamagraph import CONTEXT_KEY, LOGIT_POSITIONS
from joulebench_plugins.onnx.ports import state_key
from joulebench_plugins.onnx.repairs import repair_products
from joulebench_plugins.onnx.sharing import share_caches

if TYPE_CHECKING:
    from joulebench_plugins.onnx.graphmodel import GraphModel

#: Extents of the traced example: positions before, tokens, logits. All differ, and from small numbers that
#: models have; else torch takes one for another, and attention is not fused.
_PAST, _NEW, _KEPT = 12, 5, 3
#: Lengths at which a prompt's graph is tried, other than the traced one.
_TRIED_LENGTHS: Final = (3, 19)
_TRACED_LENGTH: Final = 12
#: Largest difference of logits, as a part of their range, that rounding explains.
_TOLERANCE: Final = 1e-3
#: Tokens that are fed one by one behind a tried prompt.
_TRIED_STEPS: Final = 3


def trace(source: Path, output: Path) -> None:
    """Write the graphs of the checkpoint in ``source`` into ``output``.

    Raises :class:`ArtifactError` with what both ways said where neither works.
    """
    from joulebench_plugins.shared.exporters.tracing import first_line, load_model

    config = read_config(source)
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    model = load_model(source)
    context = context_tokens(config)
    faults: list[str] = []
    for name, way in (("as one graph", _one_graph), ("as a pair of graphs", _pair)):
        try:
            (output / CONFIG_FILE).write_text(json.dumps(config, indent=1), encoding="utf-8")
            way(model, output, context)
            _check(model, output)
        except Exception as error:  # of torch.export, onnxscript, transformers, onnxruntime
            faults.append(f"{name}: {first_line(error)}")
            _clear(output)
        else:
            return
    raise ArtifactError(
        f"transformers' exporters make no right graph of it; {'; '.join(faults)}",
        where=str(source),
        hint="run this model on a backend that reads checkpoints as they are",
    )


def context_tokens(config: Mapping[str, Any]) -> int | None:
    """The model's context by its configuration."""
    own = text_config(config)
    size = next((own[key] for key in ("max_position_embeddings", "n_positions", "max_seq_len") if key in own), None)
    return size if isinstance(size, int) and size > 0 else None


def _clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


# -- one graph ----------------------------------------------------------------------------------


def _one_graph(model: Any, output: Path, context: int | None) -> None:
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    parameters = inspect.signature(model.forward).parameters
    cache_name = next((name for name in ("past_key_values", "cache") if name in parameters), None)
    if cache_name is None:
        raise ArtifactError("it takes no cache of keys and values")
    tokens = _tokens(model, _PAST + _NEW)
    # Without the configuration, a cache keeps all positions of a sliding window too: the mask cuts them.
    cache = DynamicCache()
    with torch.no_grad():
        model(input_ids=tokens[:, :_PAST], use_cache=True, **{cache_name: cache})
    if not cache.layers or not all(type(layer) is DynamicLayer for layer in cache.layers):
        raise ArtifactError("its cache holds more than keys and values")
    # One sequence has no padding, so no mask: with one, the exporter would not fuse the attention.
    example: dict[str, Any] = {"input_ids": tokens[:, _PAST:], cache_name: cache}
    if "position_ids" in parameters:
        example["position_ids"] = torch.arange(_PAST, _PAST + _NEW)[None]
    if "logits_to_keep" in parameters:
        example["logits_to_keep"] = torch.arange(_KEPT)
    shapes = _free_extents(example, len(cache.layers))
    program = OnnxExporter().export(model, example, OnnxConfig(dynamic_shapes=shapes, ort_fusions="cpu")).program
    for value in program.graph.inputs:
        if value.name == "logits_to_keep":
            value.name = LOGIT_POSITIONS
    share_caches(program)
    _save(program, output / MODEL_FILE, context)


def _free_extents(example: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Which extents of the example are free, by input."""
    from torch.export import Dim

    # Names of extents would be kept apart; AUTO finds by itself which are equal.
    own = {"input_ids": {1: Dim.AUTO}, "position_ids": {1: Dim.AUTO}, "logits_to_keep": {0: Dim.AUTO}}
    return {name: own[name] if name in own else [{2: Dim.AUTO}] * (2 * layers) for name in example}


def _save(program: Any, file: Path, context: int | None) -> None:
    import onnx_ir

    repair_products(program)
    if context is not None:
        program.metadata_props[CONTEXT_KEY] = str(context)
    onnx_ir.save(program, str(file), external_data=f"{file.name}.data")


# -- a pair -------------------------------------------------------------------------------------


def _pair(model: Any, output: Path, context: int | None) -> None:
    """A prompt's graph and a step's; the step's alone where the prompt's is right at its traced length only."""
    import torch
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    tokens = _tokens(model, _TRACED_LENGTH)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    exported = OnnxExporter().export_for_generation(model, inputs, OnnxConfig(dynamic=True, ort_fusions="cpu"))
    names = [Path(name).stem for name in PAIRS[0]]
    if sorted(exported.components) != sorted(names):
        raise ArtifactError(f"its parts are {', '.join(exported.components)}")
    _fix_extents(*(exported.components[name].program.graph for name in names))
    for name in names:
        _save(exported.components[name].program, output / f"{name}.onnx", context)
    try:
        if _opened(find_decoder(output)).reads_prompts_at_once:
            _check(model, output)
            return
    except Exception:  # noqa: S110  the step's graph alone may still be right
        pass
    prompt = output / PAIRS[0][0]
    prompt.unlink()
    prompt.with_name(f"{prompt.name}.data").unlink(missing_ok=True)


def _fix_extents(prompt: Any, step: Any) -> None:
    """State the extents of a step's states that a prompt's graph knows: a convolution's window does not grow."""
    import onnx_ir

    known = {state_key(value.name): value.shape for value in prompt.outputs}
    for value in (*step.inputs, *step.outputs):
        shape = known.get(state_key(value.name))
        if value.shape is not None and shape is not None and len(shape) == len(value.shape):
            both = zip(value.shape, shape, strict=True)
            value.shape = onnx_ir.Shape([size if isinstance(size, int) else own for own, size in both])


# -- whether it is right ------------------------------------------------------------------------


def _check(model: Any, output: Path) -> None:
    """Raise :class:`ArtifactError` where the graphs say something else than the model they were traced from."""
    import numpy as np
    import torch

    files = find_decoder(output)
    session = _opened(files)
    for length in _TRIED_LENGTHS:
        tokens = _tokens(model, length + _TRIED_STEPS)
        with torch.no_grad():
            expected = model(input_ids=tokens).logits[0].numpy()
        own = np.empty_like(expected)
        ids = tokens[0].tolist()
        session.fill(ids[:length], 0, own[:length])
        for place in range(length, len(ids)):
            session.fill(ids[place : place + 1], place, own[place : place + 1])
        off = float(np.abs(own - expected).max())
        if not off <= _TOLERANCE * float(np.ptp(expected)):
            raise ArtifactError(f"its logits at {length} tokens are off by {off:.2g} of {float(np.ptp(expected)):.2g}")


def _opened(files: DecoderFiles) -> GraphModel:
    import onnxruntime

    from joulebench_plugins.onnx.loading import graph_model

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    runtimes = [
        onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]) for file in files.graphs
    ]
    return graph_model(runtimes, files, max(_TRIED_LENGTHS) + _TRIED_STEPS)


def _tokens(model: Any, count: int) -> Any:
    """Token ids that do not repeat soon, (1, count)."""
    import torch

    size = int(model.get_input_embeddings().weight.shape[0])
    return (torch.arange(count)[None] * 7919 + 11) % size
