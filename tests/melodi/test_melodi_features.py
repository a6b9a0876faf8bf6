"""Features of a prompt: MELODI's definitions, and nothing fetched."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from joulebench_reports.melodi import features
from joulebench_reports.melodi.columns import FEATURES
from joulebench_reports.melodi.features import Libraries, installed_libraries, prompt_features

NOTHING = Libraries(False, False, None, False, ())


def test_without_libraries_there_are_marks_alone() -> None:
    features = prompt_features("Is it? Yes! (No.)", NOTHING)
    assert set(features) == {*FEATURES, "text_standard"}
    known = {name: value for name, value in features.items() if value is not None}
    assert known == {"question_marks": 1.0, "exclamation_marks": 1.0, "punctuation_count": 5.0}


def test_missing_libraries_are_named_with_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("textstat", "textblob", "nltk"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(features, "find_spec", lambda name: None)
    libraries = installed_libraries()
    assert not libraries.textstat
    assert any("pip install 'joulebench[melodi]'" in note for note in libraries.notes)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("word_count", 0.97),
        ("unique_word_count", 0.97),
        ("long_word_count", 0.99),
        ("punctuation_count", 1.0),
        ("question_marks", 1.0),
        ("char_count", 1.0),
        ("lexicon_count", 1.0),
        ("sentence_count", 0.99),
        ("sentiment_polarity", 1.0),
        ("sentiment_subjectivity", 1.0),
        ("personal_pronouns", 0.99),
        ("reading_time", 1.0),
    ],
)
def test_features_are_those_of_the_published_prompts(sample: Path, name: str, share: float) -> None:
    pytest.importorskip("textstat")
    pytest.importorskip("textblob")
    with sample.open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))[::10]
    libraries = installed_libraries()
    equal = [
        abs(float(str(prompt_features(row["prompt"], libraries)[name])) - float(row[name])) < 0.006 for row in rows
    ]
    assert sum(equal) / len(equal) >= share


def test_scores_by_syllables_need_nltks_dictionary_and_never_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nltk = pytest.importorskip("nltk")
    pytest.importorskip("textstat")

    def refuse(*_: object, **__: object) -> bool:
        raise AssertionError("tried to download")

    monkeypatch.setattr(nltk, "download", refuse)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    without = prompt_features("A plain sentence here.", installed_libraries())
    assert without["flesch_reading_ease"] is None
    assert without["char_count"] == 19
    corpus = tmp_path / "corpora" / "cmudict"
    corpus.mkdir(parents=True)
    (corpus / "cmudict").write_text("A 1 AH0\nHERE 1 HH IY1 R\nPLAIN 1 P L EY1 N\nSENTENCE 1 S EH1 N T AH0 N S\n")
    libraries = installed_libraries()
    assert libraries.syllables
    assert prompt_features("A plain sentence here.", libraries)["syllable_count"] == 5


@pytest.mark.parametrize("text", ["", " ", "\n", "?", "你好", "a" * 5000, "\x00\x1b"])
def test_any_text_has_features(text: str) -> None:
    features = prompt_features(text, installed_libraries())
    assert set(features) == {*FEATURES, "text_standard"}
