"""The tokenizer in a GGUF file's metadata, as ``tokenizer.json`` and its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.gguf.pretokenizers import LLAMA3_CUTS
from joulebench_plugins.gguf.reading import GgufFile, GgufMetadata
from joulebench_plugins.shared.llama.shape import LlamaShape

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

# ``tokenizer.ggml.token_type`` (gguf.constants.TokenType).
_CONTROL: Final = 3
_USER_DEFINED: Final = 4

#: How each ``tokenizer.ggml.pre`` cuts text before merging. The names are llama.cpp's
#: (src/llama-vocab.cpp); only those that the ``tokenizers`` library does identically are here.
_DIGIT_WISE: Final = frozenset({"smollm", "starcoder", "refact"})
_GPT2: Final = frozenset({"gpt-2"})
_LLAMA3: Final = frozenset({"llama-bpe", "llama3", "llama-v3"})


def write_tokenizer(file: GgufFile, shape: LlamaShape, output: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into ``output``.

    Raises :class:`ArtifactError` for SentencePiece and other vocabularies than byte-level BPE,
    and for a pre-tokenizer that is not known.
    """
    check_tokenizer(file)
    tokens = file.texts("tokenizer.ggml.tokens")
    if not tokens or len(tokens) > shape.vocab_size:
        raise ModelError(
            f"{len(tokens or [])} tokens for an embedding of {shape.vocab_size} rows", where=str(file.path)
        )
    tokenizer = _build(file, tokens)
    tokenizer.save(str(output / "tokenizer.json"), pretty=False)
    config = _config(file, shape, tokens)
    (output / "tokenizer_config.json").write_text(
        json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def check_tokenizer(file: GgufMetadata) -> None:
    """Raise :class:`ArtifactError` for a tokenizer that is not imported, by the header alone."""
    kind = file.text("tokenizer.ggml.model")
    if kind != "gpt2":
        named = "SentencePiece ('llama')" if kind == "llama" else f"'{kind}'"
        raise ArtifactError(
            f"tokenizer {named} is not imported; byte-level BPE ('gpt2') is",
            where=str(file.path),
            hint="use the model's original safetensors and tokenizer.json instead",
        )
    pre = _cut_name(file)
    if pre not in _GPT2 | _DIGIT_WISE | _LLAMA3:
        known = ", ".join(sorted(_GPT2 | _DIGIT_WISE | _LLAMA3))
        raise ArtifactError(
            f"pre-tokenizer '{pre}' is not known",
            where=f"{file.path}: tokenizer.ggml.pre",
            hint=f"known: {known}; use the model's original safetensors and tokenizer.json instead",
        )


def _cut_name(file: GgufMetadata) -> str:
    return file.text("tokenizer.ggml.pre") or "default"


def _build(file: GgufFile, tokens: list[str]) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders
    from tokenizers.models import BPE

    pre = _cut_name(file)
    merges = file.texts("tokenizer.ggml.merges") or []
    vocabulary = {token: index for index, token in enumerate(tokens)}
    try:
        model = BPE(
            vocab=vocabulary, merges=[_pair(merge) for merge in merges], fuse_unk=False, ignore_merges=pre in _LLAMA3
        )
    except Exception as error:  # the library raises bare Exception for an inconsistent vocabulary
        raise ModelError(f"merges and tokens disagree: {error}", where=str(file.path)) from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _cutter(pre)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = _framing(file, tokens, pre)
    types = file.integers("tokenizer.ggml.token_type") or []
    # One at a time and in order, so that ids stay the file's.
    for token, token_type in zip(tokens, types, strict=False):
        if token_type == _CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif token_type == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])
    return tokenizer


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _cutter(pre: str) -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    if pre in _GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre in _DIGIT_WISE:
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_CUTS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _begins(file: GgufFile, pre: str) -> bool:
    """Whether a text is begun with the bos token; llama.cpp assumes it for Llama 3 only."""
    stated = file.flag("tokenizer.ggml.add_bos_token")
    return pre in _LLAMA3 if stated is None else stated


def _framing(file: GgufFile, tokens: list[str], pre: str) -> object:
    """Adds bos and eos where the file asks for them."""
    from tokenizers import processors

    plain = processors.ByteLevel(trim_offsets=False)
    template, special = ["$A"], []
    bos = file.token_id("bos", len(tokens))
    if bos is not None and _begins(file, pre):
        template.insert(0, tokens[bos])
        special.append((tokens[bos], bos))
    eos = file.token_id("eos", len(tokens))
    if eos is not None and file.flag("tokenizer.ggml.add_eos_token"):
        template.append(tokens[eos])
        special.append((tokens[eos], eos))
    if not special:
        return plain
    framed = processors.TemplateProcessing(single=template, pair=[*template, "$B"], special_tokens=special)
    return processors.Sequence([plain, framed])


def _config(file: GgufFile, shape: LlamaShape, tokens: list[str]) -> dict[str, object]:
    config: dict[str, object] = {
        # The class that takes tokenizer.json as it stands.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.max_position_embeddings,
    }
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = file.token_id(key, len(tokens))
        if index is not None:
            config[f"{role}_token"] = tokens[index]
    template = file.text("tokenizer.chat_template")
    if template is not None:
        config["chat_template"] = template
    return config
