"""How ``tokenizer.json`` cuts text before merging, by the names that GGUF has for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ArtifactError

#: The expression by which Llama 3 cuts text, from its published tokenizer.
LLAMA3_CUTS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: SentencePiece's sign for a space.
_SPACE: Final = "\u2581"


def pre_name(content: Mapping[str, Any], file: Path) -> str:
    """``tokenizer.ggml.pre`` of a byte-level BPE, found by what the tokenizer does, not its name.

    Raises :class:`ArtifactError` for what llama.cpp would do differently.
    """
    model = content["model"]
    steps = [_essence(step) for step in flattened(content.get("pre_tokenizer"), "pretokenizers")]
    name = next((name for name, cutter in _CUTTERS.items() if steps == cutter), None)
    if name is None:
        kinds = ", ".join(str(step[0]) for step in steps) or "none"
        raise _refusal(file, f"this way of cutting text is not known (pre-tokenizer: {kinds})")
    if content.get("normalizer") is not None:
        raise _refusal(file, "a tokenizer that normalizes text is not exported")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _refusal(file, "a BPE with marks inside words is not exported")
    # llama.cpp takes whole words from the vocabulary before merging for Llama 3 only.
    if bool(model.get("ignore_merges")) != (name == "llama-bpe"):
        raise _refusal(file, f"ignore_merges does not go with the pre-tokenizer '{name}'")
    return name


def space_prefix(content: Mapping[str, Any], file: Path) -> bool:
    """Whether a SentencePiece-like tokenizer puts a space before the text.

    Known are the two forms in which transformers writes such a tokenizer: spaces replaced by the
    normalizer, or by a ``Metaspace`` pre-tokenizer that does not split.
    """
    normal = [_essence(step) for step in flattened(content.get("normalizer"), "normalizers")]
    cut = [_essence(step) for step in flattened(content.get("pre_tokenizer"), "pretokenizers")]
    replace = ("Replace", " ", _SPACE)
    if not cut and normal in ([replace], [("Prepend", _SPACE), replace]):
        return len(normal) == 2
    if not normal and len(cut) == 1 and cut[0][:3] == ("Metaspace", _SPACE, False):
        return cut[0][3] != "never"
    raise _refusal(file, "this form of SentencePiece tokenizer is not known")


def flattened(step: object, key: str) -> list[Mapping[str, Any]]:
    """The steps of a ``Sequence`` (under ``key``), or the one step that stands alone."""
    if not isinstance(step, dict):
        return []
    if step.get("type") == "Sequence":
        return [part for inner in step.get(key) or [] for part in flattened(inner, key)]
    return [step]


def _essence(step: Mapping[str, Any]) -> tuple[object, ...]:
    """What of a step decides the tokens, defaults filled in."""
    kind = step.get("type")
    if kind == "ByteLevel":
        return kind, step.get("add_prefix_space", True), step.get("use_regex", True)
    if kind == "Digits":
        return kind, step.get("individual_digits", False)
    if kind == "Split":
        return kind, _pattern(step), step.get("behavior"), step.get("invert", False)
    if kind == "Replace":
        return kind, _pattern(step), step.get("content")
    if kind == "Prepend":
        return kind, step.get("prepend")
    if kind == "Metaspace":
        scheme = step.get("prepend_scheme", "always")
        return kind, step.get("replacement"), step.get("split", True), scheme
    return (kind,)


def _pattern(step: Mapping[str, Any]) -> object:
    pattern = step.get("pattern")
    return next(iter(pattern.values()), None) if isinstance(pattern, dict) else pattern


def _refusal(file: Path, what: str) -> ArtifactError:
    return ArtifactError(
        what, where=str(file), hint="exported are the tokenizers of GPT-2, SmolLM, Llama 3 and Llama 2 (SentencePiece)"
    )


#: Steps of each known byte-level pre-tokenizer. The names are llama.cpp's (src/llama-vocab.cpp).
_CUTTERS: Final[dict[str, list[tuple[object, ...]]]] = {
    "gpt-2": [("ByteLevel", False, True)],
    "smollm": [("Digits", True), ("ByteLevel", False, True)],
    "llama-bpe": [("Split", LLAMA3_CUTS, "Isolated", False), ("ByteLevel", False, False)],
}
