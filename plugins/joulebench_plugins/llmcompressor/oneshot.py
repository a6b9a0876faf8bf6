"""Runs ``llmcompressor.oneshot`` on a checkpoint and writes the result as a dense checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from joulebench.checkpoint import INDEX_FILE, weight_files
from joulebench.errors import ModelError
from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens
from joulebench_plugins.shared.tensors.weights import copy_side_files

#: One file is written, whatever the source had.
_WEIGHTS: Final = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Modifier:
    """What llmcompressor is asked to do to all linear layers but the head."""

    kind: str  # gptq, wanda or sparsegpt
    bits: int = 4
    group: int = 32
    sparsity: float = 0.5
    mask: str = "0:0"
    damping: float = 0.01

    @property
    def quantizes(self) -> bool:
        """Whether the result holds integers and scales, and not plain weights."""
        return self.kind == "gptq"

    def build(self) -> Any:
        """The library's own object."""
        everywhere: dict[str, Any] = {"targets": ["Linear"], "ignore": ["lm_head"]}
        if self.kind == "gptq":
            from llmcompressor.modifiers.quantization import GPTQModifier

            weights = {
                "num_bits": self.bits,
                "type": "int",
                "strategy": "group",
                "group_size": self.group,
                "symmetric": True,
            }
            return GPTQModifier(
                config_groups={"all": {"targets": ["Linear"], "weights": weights}},
                ignore=["lm_head"],
                dampening_frac=self.damping,
            )
        from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier

        if self.kind == "wanda":
            return WandaPruningModifier(sparsity=self.sparsity, mask_structure=self.mask, **everywhere)
        return SparseGPTModifier(
            sparsity=self.sparsity, mask_structure=self.mask, dampening_frac=self.damping, **everywhere
        )


def compress(source: Path, output: Path, calibration: Calibration, modifier: Modifier) -> None:
    """Compress in float32 and write every tensor in its own number type."""
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(calibration.seed)
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, local_files_only=True).eval()
    rows = [torch.tensor(ids) for ids in calibration_tokens(source, calibration)]
    batches = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows]
    oneshot(
        model=model,
        processor=tokenizer,
        recipe=[modifier.build()],
        dataset=torch.utils.data.DataLoader(batches, batch_size=1),
        num_calibration_samples=len(batches),
        max_seq_length=calibration.length,
    )
    weights = _dequantized(model) if modifier.quantizes else model.state_dict()
    _write(source, output, weights)


def _dequantized(model: Any) -> Mapping[str, torch.Tensor]:
    """The weights that the packed file stands for: written, and read back as a reader would."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import CompressedTensorsConfig

    with tempfile.TemporaryDirectory(prefix="joulebench-") as folder:
        model.save_pretrained(folder, save_compressed=True)
        read = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            quantization_config=CompressedTensorsConfig(dequantize=True),
        )
        weights: Mapping[str, torch.Tensor] = read.state_dict()
        return weights


def _write(source: Path, output: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """The source's files with the new weights under its own names, in its own number types."""
    tensors: dict[str, torch.Tensor] = {}
    for file in weight_files(source):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  no mapping
                old = opened.get_tensor(name)
                new = weights.get(name)
                if new is None or not name.endswith(".weight"):
                    tensors[name] = old
                    continue
                if new.shape != old.shape or new.device.type == "meta":
                    raise ModelError(
                        f"'{name}' came back from llmcompressor in the shape {tuple(new.shape)}", where=str(source)
                    )
                tensors[name] = new.detach().to(old.dtype).contiguous()
    save_file(tensors, output / _WEIGHTS, metadata={"format": "pt"})
    copy_side_files(source, output)
    # The weights are one file now.
    (output / INDEX_FILE).unlink(missing_ok=True)
