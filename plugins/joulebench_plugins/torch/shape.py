"""The converter ``shape-init``: random weights for a model given by its shape alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, Settings, distribution_versions, require_modules
from joulebench.errors import ModelError

_DTYPES: Final = ("float32", "bfloat16", "float16")


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

        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        try:
            config = AutoConfig.from_pretrained(str(source), local_files_only=True, trust_remote_code=False)
            # One generator, in the order of the modules, on the CPU: the same on every machine.
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype), trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"no causal language model can be made of it: {error}", where=str(source / "config.json")
            ) from error
        model.save_pretrained(str(output))


def _read_seed(path: Path) -> tuple[int, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path)) from error
    content = content if isinstance(content, dict) else {}
    seed, dtype = content.get("seed"), content.get("dtype", "float32")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ModelError("'seed' must be an integer", where=str(path))
    if dtype not in _DTYPES:
        raise ModelError(f"'dtype' must be one of {', '.join(_DTYPES)}", where=str(path))
    return seed, dtype
