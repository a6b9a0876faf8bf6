"""What MELODI says of a prompt's text: counts, readability, sentiment, parts of speech.

The definitions are those of MELODI's own feature extraction, by the same libraries where they work
offline. A feature whose library or word list is not installed is ``None``; nothing is fetched.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from joulebench_reports.melodi.columns import FEATURES

if TYPE_CHECKING:
    from types import ModuleType

Feature = float | str | None

#: Scores of textstat that need no word list.
_PLAIN_SCORES: Final = (
    "automated_readability_index",
    "coleman_liau_index",
    "mcalpine_eflaw",
    "reading_time",
    "gutierrez_polini",
    "osman",
    "gulpease_index",
    "lexicon_count",
    "char_count",
    "letter_count",
    "sentence_count",
)
#: Scores that count syllables by NLTK's copy of the CMU dictionary, which is no package.
_SYLLABLE_SCORES: Final = (
    "flesch_reading_ease",
    "flesch_kincaid_grade",
    "gunning_fog",
    "smog_index",
    "linsear_write_formula",
    "dale_chall_readability_score",
    "text_standard",
    "spache_readability",
    "fernandez_huerta",
    "szigriszt_pazos",
    "crawford",
    "wiener_sachtextformel",
    "syllable_count",
    "polysyllabcount",
    "monosyllabcount",
)
_LONG_WORD: Final = 6
_PERSONAL: Final = frozenset({"i", "we", "you", "he", "she", "they"})
#: Penn Treebank tags of each part of speech, by their beginnings.
_TAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "noun_count": ("NN", "NNS"),
    "verb_count": ("VB",),
    "adj_count": ("JJ",),
    "adverb_count": ("RB", "WRB"),
    "pronoun_count": ("PRP", "WP"),
}
#: Proper nouns and possessives are other parts of speech in MELODI's count.
_NOT: Final = ("NNP", "PRP$", "WP$")


@dataclass(frozen=True, slots=True)
class Libraries:
    """What is installed here; ``notes`` say which features are missing and how to get them."""

    textstat: bool
    syllables: bool
    stop_words: frozenset[str] | None
    textblob: bool
    notes: tuple[str, ...]


def installed_libraries() -> Libraries:
    """Which features can be computed here."""
    extra = "pip install 'joulebench[melodi]'"
    notes = ["named entities and sentence embeddings: no light library gives them"]
    has_textstat, has_textblob = find_spec("textstat") is not None, _has_textblob()
    if not has_textstat:
        notes.append(f"readability: {extra}")
    if not has_textblob:
        notes.append(f"words, parts of speech and sentiment: {extra}")
    syllables = has_textstat and _corpus("cmudict")
    if has_textstat and not syllables:
        notes.append("scores by syllables: python -m nltk.downloader cmudict")
    stop_words = _stop_words() if has_textblob else None
    if has_textblob and stop_words is None:
        notes.append("stop words: python -m nltk.downloader stopwords")
    return Libraries(has_textstat, syllables, stop_words, has_textblob, tuple(notes))


def _has_textblob() -> bool:
    return find_spec("textblob") is not None and find_spec("nltk") is not None


def _corpus(name: str) -> bool:
    """Whether NLTK has a corpus on disk. textstat would try to download a missing one."""
    import nltk

    for file in (f"corpora/{name}", f"corpora/{name}.zip"):
        try:
            nltk.data.find(file)
        except LookupError:
            continue
        return True
    return False


def _stop_words() -> frozenset[str] | None:
    if not _corpus("stopwords"):
        return None
    from nltk.corpus import stopwords

    return frozenset(stopwords.words("english"))


def prompt_features(prompt: str, libraries: Libraries) -> dict[str, Feature]:
    """Every published feature of a prompt, ``None`` where it cannot be had here."""
    features: dict[str, Feature] = dict.fromkeys((*FEATURES, "text_standard"))
    features["punctuation_count"] = float(sum(prompt.count(mark) for mark in string.punctuation))
    features["question_marks"] = float(prompt.count("?"))
    features["exclamation_marks"] = float(prompt.count("!"))
    if libraries.textstat:
        features |= _scores(prompt, libraries.syllables)
    if libraries.textblob:
        features |= _words(prompt, libraries.stop_words)
        features |= _grammar(prompt, features["word_count"])
    return features


def _scores(prompt: str, syllables: bool) -> dict[str, Feature]:
    import textstat

    names = _PLAIN_SCORES + (_SYLLABLE_SCORES if syllables else ())
    return {name: _score(textstat, name, prompt) for name in names}


def _score(textstat: ModuleType, name: str, prompt: str) -> Feature:
    function: Callable[..., float | str] = getattr(textstat, name)
    try:
        value = function(prompt, 1) if name == "wiener_sachtextformel" else function(prompt)
    except (ZeroDivisionError, ValueError, IndexError):
        return None  # a text without a word has no score
    return value if isinstance(value, str) else float(value)


def _tokens(prompt: str) -> tuple[list[str], int]:
    """Words and marks by NLTK's tokenizer, and how many sentences they were found in.

    NLTK's own splitter of sentences needs a model that is no package; ends of sentences are
    found by their marks instead, which gives the same count of words in 99 % of the published
    prompts.
    """
    from nltk.tokenize import NLTKWordTokenizer

    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+", prompt.strip()) if sentence]
    tokenizer = NLTKWordTokenizer()
    return [word for sentence in sentences for word in tokenizer.tokenize(sentence)], len(sentences)


def _words(prompt: str, stop_words: frozenset[str] | None) -> dict[str, Feature]:
    words, sentences = _tokens(prompt)
    if not words:
        return {"word_count": 0.0}
    count, unique = len(words), len(set(words))
    per_sentence = count / sentences
    return {
        "word_count": float(count),
        "avg_word_length": sum(map(len, words)) / count,
        "word_diversity": unique / count,
        "lexical_diversity": unique / count,
        "unique_word_count": float(unique),
        "avg_sentence_length": per_sentence,
        "long_word_count": float(sum(len(word) > _LONG_WORD for word in words)),
        "stop_word_count": None if stop_words is None else float(sum(word.lower() in stop_words for word in words)),
        "personal_pronouns": float(sum(word.lower() in _PERSONAL for word in words)),
        "word_count_squared": float(count**2),
        "avg_sentence_length_cubed": per_sentence**3,
    }


def _grammar(prompt: str, words: Feature) -> dict[str, Feature]:
    """Sentiment and parts of speech by TextBlob, whose lexicon comes with it."""
    from textblob import TextBlob
    from textblob.en.taggers import PatternTagger

    sentiment = TextBlob(prompt).sentiment
    features: dict[str, Feature] = {
        "sentiment_polarity": float(sentiment.polarity),
        "sentiment_subjectivity": float(sentiment.subjectivity),
    }
    tags: Sequence[str] = [tag for _, tag in PatternTagger().tag(prompt)]
    counts = {
        name: float(sum(tag.startswith(starts) and tag not in _NOT for tag in tags)) for name, starts in _TAGS.items()
    }
    counts["noun_count"] = float(sum(tag in _TAGS["noun_count"] for tag in tags))
    features |= counts
    features["adjectives"], features["adverbs"] = counts["adj_count"], counts["adverb_count"]
    if isinstance(words, float) and words:
        features["prop_adverbs"] = counts["adverb_count"] / words
        features["prop_pronouns"] = counts["pronoun_count"] / words
        features["desc_complexity_ratio"] = (counts["adj_count"] + counts["adverb_count"]) / words
    return features
