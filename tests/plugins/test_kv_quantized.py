"""Caches of packed keys and values: error bounds, bytes, and what the model makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from kv_models import F32, HEAD_SIZE, KV_HEADS, LAYERS, POSITION, opened, sequence, write_model  # noqa: E402
from llama_models import generated  # noqa: E402

from joulebench_plugins.torch.kvcaches.options import Quantization  # noqa: E402
from joulebench_plugins.torch.kvcaches.packing import pack, packed, unpack  # noqa: E402
from joulebench_plugins.torch.kvcaches.quantized import QuantizedLayer  # noqa: E402

BITS = (8, 4, 2)
PROMPT = sequence(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("kv"))


@pytest.mark.parametrize("bits", BITS)
def test_codes_come_out_of_bytes_as_they_went_in(bits: int) -> None:
    codes = torch.randint(0, 2**bits, (2, 3, 16), dtype=torch.uint8)
    whole = pack(codes, bits)
    assert whole.shape == (2, 3, 16 * bits // 8)
    assert torch.equal(unpack(whole, bits), codes)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("offset", [0.0, 300.0, -5000.0])
def test_no_number_is_off_by_more_than_half_a_step(bits: int, axis: int, offset: float) -> None:
    torch.manual_seed(bits)
    numbers = torch.randn((1, 2, 64, 32)) + offset
    small = packed(numbers, bits, 16, axis)
    error = (small.unpacked(torch.float32) - numbers).abs()
    inside = axis + 1
    scale = small.scale.float().unsqueeze(inside)
    most = error.unflatten(axis, (-1, 16)) / scale
    assert most.max() <= 0.5 + 1e-2  # float32's own rounding beside
    # A step is about the group's range in 2^bits - 1 parts: float16 makes it little more.
    span = numbers.unflatten(axis, (-1, 16))
    span = span.amax(inside) - span.amin(inside)
    coarse = 2.0**-10 * abs(offset) / (2**bits - 1)
    assert (small.scale.float() <= span / (2**bits - 1) * 1.01 + coarse).all()


@pytest.mark.parametrize("bits", BITS)
def test_a_group_of_equal_numbers_stays_as_it_is(bits: int) -> None:
    numbers = torch.full((1, 1, 32, 16), 0.75)
    assert torch.equal(packed(numbers, bits, 32, 2).unpacked(torch.float32), numbers)


def test_keys_share_a_range_by_channel_and_values_by_position() -> None:
    layer = QuantizedLayer(Quantization(2, 32, 0))
    # One channel of the keys and one position of the values far out, as KIVI reports of keys.
    keys, values = torch.randn((1, 1, 32, 32)), torch.randn((1, 1, 32, 32))
    keys[..., 5] *= 100
    values[..., 7, :] *= 100
    layer.update(keys, values)
    found_keys, found_values = layer.update(keys[:, :, :1], values[:, :, :1])
    error = (found_keys[:, :, :32] - keys).abs()
    assert error[..., 5].max() > 10
    assert error[..., :5].max() < 2
    error = (found_values[:, :, :32] - values).abs()
    assert error[..., 7, :].max() > 10
    assert error[..., :7, :].max() < 2


@pytest.mark.parametrize("bits", BITS)
def test_bytes_are_those_of_the_formula(folder: Path, bits: int) -> None:
    group, residual = 16, 20
    with opened(folder, kv_bits=bits, kv_group=group, kv_residual=residual) as session:
        for count in (1, 13, 40):
            session.reset()
            generated(session, PROMPT, count)
            observed = session.observed("kv.quantized")
            seen = len(PROMPT) + count - 1
            small = (seen - residual) // group * group
            assert (observed["kv_tokens_seen"], observed["kv_tokens_packed"]) == (seen, small)
            # Codes, and float16 scale and least value of each group of 16: along the positions
            # for keys, along the channels for values.
            numbers = small * KV_HEADS * HEAD_SIZE
            layer = 2 * (numbers * bits // 8 + 2 * 2 * numbers // group)
            layer += 2 * (seen - small) * KV_HEADS * HEAD_SIZE * F32
            assert observed["kv_allocated_bytes"] == LAYERS * layer == observed["kv_claimed_bytes"]
            assert observed["kv_full_bytes"] == seen * POSITION
            memory = session.memory()
            assert memory.kv_allocated_bytes == memory.kv_used_bytes == LAYERS * layer
    assert residual <= seen - small < residual + group


def test_what_fits_in_the_residual_is_the_full_cache(folder: Path) -> None:
    with opened(folder, kv_bits=2, kv_residual=240) as session, opened(folder) as plain:
        assert generated(session, PROMPT, 20) == generated(plain, PROMPT, 20)
        assert session.score(PROMPT) == pytest.approx(plain.score(PROMPT), abs=1e-4)
        session.reset()
        assert "nothing was packed" in session.observed("kv.quantized")["note"]


def test_the_fewer_bits_the_further_from_the_full_model(folder: Path) -> None:
    with opened(folder) as plain:
        full = torch.from_numpy(plain.logits(PROMPT)).log_softmax(-1)
    distances = []
    for bits in BITS:
        with opened(folder, kv_bits=bits, kv_group=16, kv_residual=0) as session:
            logits = torch.from_numpy(session.logits(PROMPT)).log_softmax(-1)
            assert session.score(PROMPT) == pytest.approx(
                [logits[place, token].item() for place, token in enumerate(PROMPT[1:])], abs=1e-4
            )
        # The first piece of a text sees itself in full precision.
        assert torch.allclose(logits[:64], full[:64], atol=1e-4)
        distances.append((full.exp() * (full - logits)).sum(-1)[64:].mean().item())
    assert 0 < distances[0] < distances[1] < distances[2]
    assert distances[0] < 0.01


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_number_types_are_packed_too(folder: Path, dtype: str) -> None:
    with opened(folder, kv_bits=4, kv_residual=32, dtype=dtype) as session:
        assert len(generated(session, PROMPT, 10)) == 10
        observed = session.observed("kv.quantized")
        assert observed["kv_tokens_packed"] > 0
        assert dtype in observed["kv_type"]
        assert session.traffic().kv_position_bytes is None
