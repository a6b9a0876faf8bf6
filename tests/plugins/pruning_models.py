"""Small models with tokenizers, and the techniques' settings, for the tests of pruning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf_models import SPECIALS, add_tokenizer, byte_level_tokenizer

from joulebench.api import ArtifactTechnique, OptionValue, Scalar
from joulebench.profile.values import complete

SIZES: Mapping[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 0,
}
#: What each type of model is tried with: a tied head; biases and none; its own defaults.
TYPES: Mapping[str, Mapping[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "llama-biased": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    "mistral": {"tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": True},
}
TEXT = "".join(
    f"The {animal} sat on the {place} and paid {count} coins for it. "
    for count, (animal, place) in enumerate(
        (animal, place)
        for animal in ("cat", "dog", "goose", "owl", "hare")
        for place in ("mat", "roof", "hill", "wall", "boat")
    )
)
#: Few and short sequences.
SMALL: Mapping[str, OptionValue] = {"sequences": 6, "length": 24}


def make_model(kind: str = "llama", dtype: str = "float32", **sizes: Any) -> Any:
    """A model by transformers with random weights, biases and norms."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(5)
    config = AutoConfig.for_model(kind.partition("-")[0], **{**SIZES, **TYPES[kind], **sizes})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
    return model.to(getattr(torch, dtype)).eval()


def save(model: Any, folder: Path, **how: Any) -> Path:
    """Write a model as a checkpoint with a tokenizer."""
    model.save_pretrained(folder, **how)
    return add_tokenizer(folder, byte_level_tokenizer("gpt-2"), SPECIALS)


def settings_of(technique: ArtifactTechnique, text: Path | None = None, **given: OptionValue) -> dict[str, OptionValue]:
    """All settings, as the host completes them; the calibration's text as a path."""
    names = {option.name for option in technique.options}
    small = {key: value for key, value in SMALL.items() if key in names}
    whole = complete(technique.options, {**small, **given}, lambda key: key)
    if text is not None and "calibration" in names:
        whole["calibration"] = str(text)
    return whole


def pruned(
    technique: ArtifactTechnique, source: Path, output: Path, text: Path, **given: OptionValue
) -> Mapping[str, Scalar]:
    """Apply a technique as the transform does; its evidence."""
    settings = settings_of(technique, text, **given)
    config = json.loads((source / "config.json").read_text("utf-8"))
    assert technique.check(settings_of(technique, **given), config) is None
    output.mkdir()
    technique.apply(source, output, settings)
    return technique.evidence(source, output, settings)


def tensors_of(folder: Path) -> dict[str, Any]:
    """All tensors of a checkpoint."""
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def reloaded(folder: Path) -> Any:
    """The checkpoint in transformers, in float32, with nothing missing and nothing left over."""
    import torch
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()
