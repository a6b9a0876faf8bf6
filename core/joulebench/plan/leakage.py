"""Whether a text holds passages of another: what a technique has seen must not judge it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

#: Words in a row that two texts do not share by chance. Brown et al. 2020 ("Language Models are
#: Few-Shot Learners", arXiv 2005.14165, appendix C) look for 13 where they clean benchmarks from
#: training text.
SEQUENCE_WORDS: Final = 13
#: Share of a text's sequences that may be in the other one: a common quotation is no leak.
MOST_SHARED: Final = 0.01
_WORD: Final = re.compile(r"[^\W_]+")


def overlap_fault(judged: Path, seen: Path) -> str | None:
    """Why ``seen`` must not be read by a technique that is judged on ``judged``, or ``None``.

    Files are compared by their words, whatever their names, their case and their punctuation.
    """
    share = shared_share(judged, seen)
    if share <= MOST_SHARED:
        return None
    return f"shares {share:.0%} of its passages of {SEQUENCE_WORDS} words with {judged.name}, which cells are judged on"


def shared_share(judged: Path, seen: Path) -> float:
    """Share of the sequences of words of either file that are in the other one, the larger."""
    stamps = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in (judged, seen)]
    return _shared(*stamps)


@lru_cache(maxsize=64)
def _shared(judged: tuple[str, int, int], seen: tuple[str, int, int]) -> float:
    """By file, time of change and size: a plan asks for the same pair again and again."""
    sequences = set(_sequences(_words(Path(judged[0]))))
    hits: set[tuple[str, ...]] = set()
    total = held = 0
    for sequence in _sequences(_words(Path(seen[0]))):
        total += 1
        if sequence in sequences:
            held += 1
            hits.add(sequence)
    # Of a long text an excerpt may have been seen, or all of a short one.
    return max(len(hits) / len(sequences), held / total) if sequences and total else 0.0


def _words(file: Path) -> list[str]:
    return _WORD.findall(file.read_text(encoding="utf-8", errors="replace").lower())


def _sequences(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every run of so many words; of a shorter text all of it."""
    length = min(SEQUENCE_WORDS, len(words))
    if length == 0:
        return
    for start in range(len(words) - length + 1):
        yield tuple(words[start : start + length])
