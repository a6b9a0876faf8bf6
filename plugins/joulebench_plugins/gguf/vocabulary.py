"""The tokenizer of a checkpoint (``tokenizer.json``), in GGUF's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.gguf.configuration import read_optional
from joulebench_plugins.gguf.pretokenizers import flattened, pre_name, space_prefix
from joulebench_plugins.gguf.sentencepiece import piece_scores

# ``tokenizer.ggml.token_type`` (gguf.constants.TokenType).
NORMAL: Final = 1
UNKNOWN: Final = 2
CONTROL: Final = 3
USER_DEFINED: Final = 4
UNUSED: Final = 5
BYTE: Final = 6

_ROLES: Final = ("bos", "eos", "unk", "pad")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What GGUF's metadata says of a tokenizer. Lists have one entry for each token id."""

    #: ``gpt2`` (byte-level BPE) or ``llama`` (SentencePiece BPE with bytes as a fallback).
    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    scores: tuple[float, ...]
    #: Ids by role: bos, eos, unk, pad.
    special_ids: Mapping[str, int]
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    chat_template: str | None


def read_vocabulary(folder: Path, size: int) -> Vocabulary | None:
    """The tokenizer in ``folder`` for an embedding of ``size`` rows; ``None`` without one.

    Raises :class:`ArtifactError` for a tokenizer that llama.cpp would apply differently.
    """
    file = folder / "tokenizer.json"
    content = read_optional(file)
    if not content:
        return None
    try:
        return _read(content, folder, size)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ModelError(f"is damaged ({error!r})", where=str(file)) from error


def _read(content: Mapping[str, Any], folder: Path, size: int) -> Vocabulary:
    file = folder / "tokenizer.json"
    model = content.get("model") or {}
    if model.get("type") != "BPE":
        raise ArtifactError(f"tokenizers of type '{model.get('type')}' are not exported; BPE is", where=str(file))
    added = {int(token["id"]): token for token in content.get("added_tokens") or []}
    tokens, types = _tokens(model["vocab"], added, size, file)
    merges = [_pair(merge) for merge in model.get("merges") or []]
    scores: tuple[float, ...] = ()
    prefix = False
    if model.get("byte_fallback"):
        kind, pre = "llama", "default"
        prefix = space_prefix(content, file)
        types = _fallback_types(tokens, types, model.get("unk_token"))
        scores = piece_scores(tokens, types, merges, file)
    else:
        kind, pre = "gpt2", pre_name(content, file)
    configuration = read_optional(folder / "tokenizer_config.json")
    ids = {token: index for index, token in enumerate(tokens)}
    specials = {role: ids[text] for role in _ROLES if (text := _text(configuration.get(f"{role}_token"))) in ids}
    add_bos, add_eos = _framing(content.get("post_processor"), specials, ids)
    return Vocabulary(
        model=kind,
        pre=pre,
        tokens=tokens,
        types=types,
        merges=() if scores else tuple(" ".join(pair) for pair in merges),
        scores=scores,
        special_ids=specials,
        add_bos=add_bos,
        add_eos=add_eos,
        add_space_prefix=prefix,
        chat_template=_chat_template(folder, configuration),
    )


def _tokens(
    vocabulary: Mapping[str, int], added: Mapping[int, Mapping[str, Any]], size: int, file: Path
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    plain = {index: token for token, index in vocabulary.items()}
    last = max([*plain, *added], default=-1)
    if last >= size:
        raise ModelError(f"has a token with id {last} for an embedding of {size} rows", where=str(file))
    tokens: list[str] = []
    types: list[int] = []
    for index in range(size):
        if index in added:
            tokens.append(str(added[index]["content"]))
            types.append(CONTROL if added[index].get("special") else USER_DEFINED)
        else:
            # Rows that no token uses have names all the same: llama.cpp wants one for each.
            tokens.append(plain.get(index, f"[PAD{index}]"))
            types.append(NORMAL if index in plain else UNUSED)
    return tuple(tokens), tuple(types)


def _fallback_types(tokens: tuple[str, ...], types: tuple[int, ...], unknown: object) -> tuple[int, ...]:
    """Types with the bytes (``<0x41>``) and the unknown token marked as such."""
    named = {f"<0x{byte:02X}>" for byte in range(256)}

    def marked(token: str, kind: int) -> int:
        return UNKNOWN if token == unknown else BYTE if token in named else kind

    return tuple(marked(*pair) for pair in zip(tokens, types, strict=True))


def _framing(processor: object, specials: Mapping[str, int], ids: Mapping[str, int]) -> tuple[bool, bool]:
    """Whether the tokenizer itself puts bos before and eos behind a text."""
    before: list[int | None] = []
    behind: list[int | None] = []
    for step in flattened(processor, "processors"):
        if step.get("type") != "TemplateProcessing":
            continue
        place = before
        for part in step.get("single") or []:
            if "Sequence" in part:
                place = behind
            else:
                place.append(ids.get(part["SpecialToken"]["id"]))
    bos, eos = specials.get("bos"), specials.get("eos")
    return bos is not None and bos in before, eos is not None and eos in behind


def _chat_template(folder: Path, configuration: Mapping[str, Any]) -> str | None:
    alone = folder / "chat_template.jinja"
    if alone.is_file():
        return alone.read_text(encoding="utf-8")
    template = configuration.get("chat_template")
    return template if isinstance(template, str) else None


def _pair(merge: object) -> tuple[str, str]:
    """A merge in the newer form (a list of two) or the older (one text with a space)."""
    if isinstance(merge, list):
        return str(merge[0]), str(merge[1])
    left, _, right = str(merge).partition(" ")
    return left, right


def _text(value: object) -> str | None:
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None
