"""Tokenizers of small llamas and their GGUF files, for the tests of GGUF and llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joulebench_plugins.gguf.export import GgufExport

CORPUS = [
    "the cat sat on the mat in 2024, and the dog paid  12 coins",
    "naïve café — ‘quoted’ text; def f(x): return x ** 2",
] * 4
TEXTS = [
    "the cat sat",
    "in  2024 or 1,000.50 (  42)",
    "tabs\tand\n\n newlines  ",
    "ünïcode 日本 🎉",
    "it's ½ of x²",
    "",
]
SPECIALS = {
    "bos_token": "<|start|>",
    "eos_token": "<|end|>",
    "chat_template": "{% for m in messages %}<|start|>{{ m['content'] }}{% endfor %}",
}
SENTENCEPIECE_SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
#: SentencePiece's sign for a space.
SPACE = "\u2581"


def exported(checkpoint: Path, output: Path, dtype: str = "float32") -> Path:
    """The GGUF file of a checkpoint, in a new folder ``output``."""
    output.mkdir()
    GgufExport().convert(checkpoint, output, {"dtype": dtype})
    return output / "model.gguf"


def byte_level_tokenizer(cut: str) -> Any:
    """A byte-level BPE that cuts text as GPT-2 or as SmolLM does (each digit alone)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = {
        "gpt-2": bytes_,
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_]),
    }[cut]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|end|>", "<|start|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def sentencepiece_tokenizer() -> Any:
    """A BPE with bytes as a fallback, in the form that Llama 2's checkpoints have."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    pieces = _merged_pieces()
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocabulary = {name: index for index, name in enumerate(names)}
    merges = [
        (piece[:place], piece[place:])
        for piece in pieces
        for place in range(1, len(piece))
        if piece[:place] in pieces and piece[place:] in pieces
    ]
    model = models.BPE(vocab=vocabulary, merges=merges, fuse_unk=True, byte_fallback=True, **{"unk_token": "<unk>"})
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    )
    return tokenizer


def _merged_pieces() -> list[str]:
    """Pieces in the order in which merging makes them, the longer ones last of each word."""
    words = (SPACE + "the cat sat on the mat and the dog paid".replace(" ", " " + SPACE)).split()
    letters = sorted({letter for word in words for letter in word})
    joined = [word[:length] for length in range(2, 5) for word in words if len(word) >= length]
    joined += [word[start : start + 2] for word in words for start in range(1, len(word) - 1)]
    return list(dict.fromkeys([*letters, *joined]))


def add_tokenizer(folder: Path, tokenizer: Any, configuration: Mapping[str, str]) -> Path:
    """Put a tokenizer into a checkpoint's folder."""
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **configuration})
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return folder
