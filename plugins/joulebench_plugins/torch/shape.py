"""The converter ``shape-init``: random weights for a model given by its shape alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, Settings, distribution_versions, require_modules
from joulebench.checkpoint import HIDDEN, LAYERS, read_json, size_of
from joulebench.errors import ModelError
from joulebench_plugins.torch.classes import is_encoder

_WIDTHS: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Python objects of a decoder layer in torch: some 35 kB for a llama layer of width 2, so at least this.
_LAYER_OBJECTS_BYTES: Final = 20_000


class ShapeInit(Converter):
    """Initialises a causal language model from ``config.json`` and ``seed.json``.

    ``seed.json`` holds ``{"seed": integer, "dtype": "float32" | "bfloat16" | "float16"}``. Energy
    and speed of such a model are those of its shape; what it writes means nothing. The same
    folder gives the same bytes with the same library versions.
    """

    name = "shape-init"
    summary = "random weights for a model shape (config.json and seed.json)"
    source = "shape"
    target = "hf"

    def available(self) -> Availability:
        """Needs torch, transformers and safetensors."""
        return require_modules(("torch", "transformers", "safetensors"), "torch")

    def versions(self) -> Mapping[str, str]:
        """The libraries whose initialisation decides the weights."""
        return distribution_versions(("torch", "transformers", "safetensors"))

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write configuration and safetensors into ``output``."""
        seed, dtype = _read_seed(source / "seed.json")
        _refuse_oversized(source / "config.json", dtype)

        import torch
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

        try:
            config = AutoConfig.from_pretrained(str(source), local_files_only=True, trust_remote_code=False)
            # One generator, in the order of the modules, on the CPU: the same on every machine.
            torch.manual_seed(seed)
            kind = AutoModel if is_encoder(config.to_dict()) else AutoModelForCausalLM
            model = kind.from_config(config, dtype=getattr(torch, dtype), trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"no language model can be made of it: {error}", where=str(source / "config.json")
            ) from error
        model.save_pretrained(str(output))


def _refuse_oversized(file: Path, dtype: str) -> None:
    """Raise :class:`MemoryError` for a shape whose layers this machine's memory cannot hold."""
    config = read_json(file)
    layers, hidden = size_of(config, LAYERS), size_of(config, HIDDEN)
    if layers is None or hidden is None:
        return
    # At least the projections of the queries and of the output, and the modules around them.
    least_bytes = layers * (2 * hidden * hidden * _WIDTHS[dtype] + _LAYER_OBJECTS_BYTES)
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if least_bytes > memory_bytes:
        raise MemoryError(
            f"{layers:,} layers of width {hidden:,} take {least_bytes / 2**30:,.0f} GiB and more; "
            f"this machine has {memory_bytes / 2**30:,.0f}"
        )


def _read_seed(path: Path) -> tuple[int, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path)) from error
    content = content if isinstance(content, dict) else {}
    seed, dtype = content.get("seed"), content.get("dtype", "float32")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ModelError("'seed' must be an integer", where=str(path))
    if dtype not in _WIDTHS:
        raise ModelError(f"'dtype' must be one of {', '.join(_WIDTHS)}", where=str(path))
    return seed, dtype
