"""A text that calibrates must not be the text that judges, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from matrix_plugins import backend, plan_of, technique

from joulebench.errors import ProfileError
from joulebench.plan.leakage import overlap_fault, shared_share

TEXTS = Path(__file__).parents[2] / "profiles" / "joulebench_profiles" / "texts"
WORDS = [f"word{number}" for number in range(400)]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_texts_share_nothing() -> None:
    assert shared_share(TEXTS / "evaluation.txt", TEXTS / "calibration.txt") == 0.0
    for prompts in ("short.jsonl", "prompts.jsonl"):
        assert overlap_fault(TEXTS / prompts, TEXTS / "calibration.txt") is None


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (" ".join, 1.0),
        (lambda words: "\n".join(words).upper().replace("WORD5\n", "WORD5, – "), 1.0),
        (lambda words: "before " + " ".join(words) + " after", 1.0),
        (lambda words: " ".join(words[100:150]), 1.0),  # an excerpt is all of itself
        (lambda words: " ".join([*words[:200], *(f"new{n}" for n in range(5000))]), 0.48),
    ],
    ids=["copy", "case and punctuation", "with more around it", "an excerpt", "a half, hidden"],
)
def test_a_copy_is_found_under_another_name_and_form(tmp_path: Path, change: object, share: float) -> None:
    judged = written(tmp_path, "judged.txt", " ".join(WORDS))
    seen = written(tmp_path, "seen.txt", change(WORDS))  # type: ignore[operator]
    assert shared_share(judged, seen) == pytest.approx(share, abs=0.01)
    assert "judged.txt" in str(overlap_fault(judged, seen))


def test_a_common_turn_of_phrase_is_no_leak(tmp_path: Path) -> None:
    judged = written(tmp_path, "judged.txt", " ".join(WORDS))
    other = [f"other{number}" for number in range(3000)]
    seen = written(tmp_path, "seen.txt", " ".join([*other, *WORDS[:14], *other]))
    assert 0 < shared_share(judged, seen) < 0.01
    assert overlap_fault(judged, seen) is None


def test_empty_texts_share_nothing(tmp_path: Path) -> None:
    empty = written(tmp_path, "empty.txt", "")
    judged = written(tmp_path, "judged.txt", " ".join(WORDS))
    assert shared_share(empty, judged) == shared_share(judged, empty) == 0.0


@pytest.mark.parametrize("judge", ["quality", "agreement"])
def test_a_plan_refuses_a_copy_of_what_cells_are_judged_on(tmp_path: Path, judge: str) -> None:
    judged = written(tmp_path, "judged.txt", " ".join(WORDS))
    seen = written(tmp_path, "seen.txt", " ".join(WORDS).title())
    more = {
        "quality": f'[quality]\ntext = "{judged}"\n',
        "agreement": f'[agreement]\nreference = {{ backend = "a" }}\nprompts = "{judged}"\n',
    }[judge]
    body = f'[backend.a]\n[workload.work]\n[technique.prune]\ntext = "{seen}"\n{more}'
    with pytest.raises(ProfileError, match="shares 100% of its passages") as caught:
        plan_of(body, backend("a"), technique("prune"))
    assert "technique.prune" in str(caught.value.where)
