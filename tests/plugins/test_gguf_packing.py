"""Integers of any architecture as GGUF blocks: found by the rows that they stand for, wherever those come to lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
from family_models import save_family  # noqa: E402
from pruning_models import TEXT, pruned, tensors_of  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from joulebench.errors import ModelError  # noqa: E402
from joulebench_plugins.gguf.packing import Packing  # noqa: E402
from joulebench_plugins.quantization.techniques import QuantizeRtn  # noqa: E402
from joulebench_plugins.shared.tensors.integers import IntegerFile  # noqa: E402


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2, whose matrices lie transposed, in 4 bits."""
    root = tmp_path_factory.mktemp("models")
    text = root / "calibration.txt"
    text.write_text(TEXT, encoding="utf-8")
    pruned(QuantizeRtn(), save_family("gpt2", root / "gpt2"), root / "rounded", text, bits=4)
    return root / "rounded"


@pytest.fixture
def packing(quantized: Path) -> Packing:
    integers = IntegerFile.beside(quantized)
    assert integers is not None
    return Packing(quantized, integers)


def matrix_of(folder: Path, name: str) -> Any:
    """A layer's matrix, (outputs, inputs)."""
    return tensors_of(folder)[f"transformer.h.{name}.weight"].T.contiguous().numpy()


def unpacked(made: tuple[Any, str] | None) -> Any:
    assert made is not None
    return gguf.dequantize(made[0], gguf.GGMLQuantizationType[made[1]])


def test_a_matrix_is_the_same_in_blocks_in_whatever_order_its_rows_are(quantized: Path, packing: Packing) -> None:
    matrix = matrix_of(quantized, "0.attn.c_attn")
    order = np.random.default_rng(0).permutation(len(matrix))
    assert np.array_equal(unpacked(packing.blocks(matrix)), matrix)
    assert np.array_equal(unpacked(packing.blocks(matrix[order])), matrix[order])
    assert packing.packed == {"Q4_0": 2}


def test_parts_and_stacks_of_matrices_are_packed_too(quantized: Path, packing: Packing) -> None:
    first, second = matrix_of(quantized, "0.attn.c_attn"), matrix_of(quantized, "1.attn.c_attn")
    together = np.stack([first[64:128], second[:64]])
    made = packing.blocks(together)
    assert np.array_equal(unpacked(made), together)
    assert made is not None
    assert made[0].shape == (2, 64, 2 * 18), "two blocks of 18 bytes"


def test_what_holds_other_numbers_stays_as_it_is(quantized: Path, packing: Packing) -> None:
    matrix = matrix_of(quantized, "0.mlp.c_fc").copy()
    matrix[3, 5] += 1
    assert packing.blocks(matrix) is None
    assert packing.blocks(matrix_of(quantized, "0.mlp.c_fc")[:, :48]) is None
    assert packing.blocks(tensors_of(quantized)["transformer.wte.weight"].numpy()) is None
    assert not packing.packed


def test_weights_that_were_changed_afterwards_are_not_packed(quantized: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(quantized, tmp_path / "changed")
    tensors = tensors_of(folder)
    tensors["transformer.h.1.mlp.c_proj.weight"][2, 2] += 1
    save_file(tensors, folder / "model.safetensors")
    integers = IntegerFile.beside(folder)
    assert integers is not None
    with pytest.raises(ModelError, match="do not give its weights"):
        Packing(folder, integers)
