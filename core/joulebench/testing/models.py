"""A tiny llama-type checkpoint, written by the standard library alone, for tests of plugins.

It is a whole model to every runtime (config, safetensors, tokenizer, chat template) and says
nothing sensible: its weights are random from a seed. Its answers depend on the whole prompt, not on
the last token alone, so that a mistake in a KV cache shows.
"""

from __future__ import annotations

import array
import json
import random
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

LAYERS: Final = 2
HIDDEN: Final = 128
HEADS: Final = 4
KV_HEADS: Final = 2
INTERMEDIATE: Final = 192
CONTEXT: Final = 512
#: Pairs that the tokenizer merges, beside its two special tokens and the 256 bytes.
_MERGES: Final = (("t", "h"), ("th", "e"), ("\u0120", "the"), ("o", "n"), ("a", "n"), ("an", "d"))
VOCABULARY: Final = 2 + 256 + len(_MERGES)

_TEMPLATE: Final = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def write_tiny_checkpoint(folder: Path, seed: int = 7) -> Path:
    """Write the checkpoint into ``folder``, which is made if need be; returns the folder.

    2 layers, hidden 128, 4 heads over 2 KV heads, vocabulary 264, context 512, float32: 1.3 MB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HIDDEN // HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "dtype": "float32",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer.json", _tokenizer())
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|start|>",
            "eos_token": "<|end|>",
            "chat_template": _TEMPLATE,
        },
    )
    _write_safetensors(folder / "model.safetensors", dict(_tensors(seed)))
    return folder


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")


def _tensors(seed: int) -> Iterator[tuple[str, tuple[tuple[int, ...], array.array[float]]]]:
    """Names with shapes and float32 numbers. The spreads keep every part of a layer heard."""
    source = random.Random(seed)  # noqa: S311  weights, no secret

    def matrix(rows: int, columns: int, spread: float) -> tuple[tuple[int, ...], array.array[float]]:
        return (rows, columns), array.array("f", (source.gauss(0.0, spread) for _ in range(rows * columns)))

    def ones() -> tuple[tuple[int, ...], array.array[float]]:
        return (HIDDEN,), array.array("f", [1.0] * HIDDEN)

    key_value = KV_HEADS * HIDDEN // HEADS
    yield "model.embed_tokens.weight", matrix(VOCABULARY, HIDDEN, 0.5)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", ones()
        yield f"{prefix}.post_attention_layernorm.weight", ones()
        yield f"{prefix}.self_attn.q_proj.weight", matrix(HIDDEN, HIDDEN, 0.1)
        yield f"{prefix}.self_attn.k_proj.weight", matrix(key_value, HIDDEN, 0.1)
        yield f"{prefix}.self_attn.v_proj.weight", matrix(key_value, HIDDEN, 0.1)
        yield f"{prefix}.self_attn.o_proj.weight", matrix(HIDDEN, HIDDEN, 0.1)
        yield f"{prefix}.mlp.gate_proj.weight", matrix(INTERMEDIATE, HIDDEN, 0.1)
        yield f"{prefix}.mlp.up_proj.weight", matrix(INTERMEDIATE, HIDDEN, 0.1)
        yield f"{prefix}.mlp.down_proj.weight", matrix(HIDDEN, INTERMEDIATE, 0.1)
    yield "model.norm.weight", ones()
    yield "lm_head.weight", matrix(VOCABULARY, HIDDEN, 0.2)


def _write_safetensors(file: Path, tensors: Mapping[str, tuple[tuple[int, ...], array.array[float]]]) -> None:
    """Header length, header, data (https://github.com/huggingface/safetensors, "Format")."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, (shape, numbers) in tensors.items():
        end = start + 4 * len(numbers)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as sink:
        sink.write(struct.pack("<Q", len(text)) + text)
        for _, numbers in tensors.values():
            sink.write(numbers.tobytes())


def _byte_letters() -> list[str]:
    """A printable letter for each byte, as GPT-2's byte-level BPE has it."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in shown else chr(next(others)) for byte in range(256)]


def _tokenizer() -> dict[str, object]:
    """``tokenizer.json``: bytes and a few merges, cut as GPT-2 cuts."""
    special = ["<|start|>", "<|end|>"]
    words = [*special, *_byte_letters(), *("".join(pair) for pair in _MERGES)]
    mark = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": place, "content": word, "special": True, **mark} for place, word in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": bytewise,
        "post_processor": None,
        "decoder": bytewise,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {word: place for place, word in enumerate(words)},
            "merges": [list(pair) for pair in _MERGES],
        },
    }
