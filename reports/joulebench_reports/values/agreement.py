"""How each cell compares with the reference: its values, and the words for every report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from joulebench_reports.words.text import UNKNOWN, counted, number, plain

#: Figures that sessions of before have not.
_LATER: Final = ("cosine_mean", "cosine_min")


@dataclass(frozen=True, slots=True)
class AnswerDivergence:
    """Where an answer first differs from the reference's; positions and prompts count from 0."""

    prompt: int
    position: int
    reference_token: int
    token: int
    reference_text: str | None
    text: str | None
    gap: float
    tolerance: float
    tie: bool


@dataclass(frozen=True, slots=True)
class AgreementFigures:
    """A cell's comparison with the reference; ``reason`` says why there are no figures."""

    reference: str
    reason: str | None
    prompts: int | None
    tokens: int | None
    agreed_tokens: int | None
    compared_tokens: int | None
    ties: int | None
    top1_share: float | None
    kl_nats_mean: float | None
    kl_nats_max: float | None
    perplexity_ratio: float | None
    text_perplexity_ratio: float | None
    divergences: tuple[AnswerDivergence, ...]
    #: Whether a full-precision cell is held to the reference, and in what it does not agree.
    held: bool
    disagrees: tuple[str, ...]
    #: 95 % intervals by the figure's name; sessions of before have none.
    intervals: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    #: Cosine of an encoder's embeddings with the reference's, over sentences.
    cosine_mean: float | None = None
    cosine_min: float | None = None

    @property
    def compared(self) -> bool:
        """Whether there are figures: tokens, or an encoder's embeddings."""
        return self.compared_tokens is not None or self.cosine_min is not None

    @property
    def worst(self) -> AnswerDivergence | None:
        """The divergence to tell of: the first that is no tie, else the first."""
        real = (divergence for divergence in self.divergences if not divergence.tie)
        return next(real, next(iter(self.divergences), None))


def read_agreement(text: str | None) -> AgreementFigures | None:
    """The cell's ``agreement_json``; ``None`` where nothing was asked for or it is damaged."""
    try:
        data = json.loads(text) if text else None
        return None if data is None else _agreement(data)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _agreement(data: Mapping[str, Any]) -> AgreementFigures:
    names = AgreementFigures.__dataclass_fields__
    own = ("reference", "divergences", "intervals", *_LATER)
    values = {name: data[name] for name in names if name not in own}
    fields = AnswerDivergence.__dataclass_fields__
    return AgreementFigures(
        **{
            **values,
            **{name: data.get(name) for name in _LATER},
            "reference": _reference(data["reference"], data),
            "divergences": tuple(
                AnswerDivergence(**{name: divergence[name] for name in fields})
                for divergence in data["divergences"] or ()
            ),
            "disagrees": tuple(data["disagrees"]),
            "intervals": {name: (low, high) for name, (low, high) in (data.get("intervals") or {}).items()},
        }
    )


def _reference(about: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """``torch float32 [cpu], float32; 8 × 64 tokens, prompts of builtin:short``."""
    text = f"{about['label']} [{about['device']}]"
    if about.get("dtype"):
        text += f", computing in {about['dtype']}"
    if data["prompts"]:
        kind = "random prompts" if about.get("random_prompts") else f"prompts of {about['prompts']}"
        counts = f"{data['prompts']} × {data['tokens']} tokens" if data["tokens"] else f"{data['prompts']} sentences"
        text += f"; {counts}, {kind}"
    return text


# -- words ----------------------------------------------------------------------------------------


def agrees_text(agreement: AgreementFigures | None) -> str:
    """``512/512``; ``480/480, tie`` where answers part at ties; ``NO 64/512``; ``cos 0.9998`` of embeddings."""
    if agreement is not None and agreement.cosine_min is not None:
        return f"{'NO ' if agreement.disagrees else ''}cos {number(agreement.cosine_min, 4)}"
    if agreement is None or agreement.compared_tokens is None:
        return UNKNOWN
    text = f"{agreement.agreed_tokens}/{agreement.compared_tokens}"
    if agreement.disagrees:
        return f"NO {text}"
    return f"{text}, {counted(agreement.ties, 'tie')}" if agreement.ties else text


def agreed_share(agreement: AgreementFigures | None) -> float | None:
    """Agreed of compared tokens, for sorting."""
    if agreement is None or agreement.agreed_tokens is None or not agreement.compared_tokens:
        return None
    return agreement.agreed_tokens / agreement.compared_tokens


def bounds_of(agreement: AgreementFigures, name: str) -> tuple[float | None, float | None]:
    """The 95 % interval of a figure; ``None`` where it was not recorded."""
    return agreement.intervals.get(name, (None, None))


def change_text(ratio: float | None) -> str:
    """A ratio of perplexities as a change: ``+0.02 %``."""
    return UNKNOWN if ratio is None else f"{100 * (ratio - 1):+.2f} %"


def agreement_notes(cells: Sequence[tuple[str, AgreementFigures | None]]) -> Iterator[tuple[str, str]]:
    """(term, what to say) of labelled cells: the reference, who disagrees, where they part."""
    known = [(label, agreement) for label, agreement in cells if agreement is not None]
    for text in dict.fromkeys(agreement.reference for _, agreement in known if agreement.prompts):
        yield "agreement", f"compared with {plain(text)}"
    for label, agreement in known:
        if agreement.disagrees:
            yield f"{label} DISAGREES with the reference", "; ".join(map(plain, agreement.disagrees))
        worst = agreement.worst
        if worst is not None:
            parted = len(agreement.divergences)
            others = f"; {parted} of {agreement.prompts} answers differ" if parted > 1 else ""
            yield f"{label} differs from the reference", divergence_text(worst) + others


def divergence_text(divergence: AnswerDivergence) -> str:
    """Where, which tokens, how close the reference saw them, and whether that is a tie."""
    kind = "a tie by rounding" if divergence.tie else "no tie"
    return (
        f"first at token {divergence.position + 1} of answer {divergence.prompt + 1}: "
        f"{_token(divergence.token, divergence.text)} instead of "
        f"{_token(divergence.reference_token, divergence.reference_text)}, which the reference prefers by "
        f"{number(divergence.gap, 3)} logits ({kind}; ties: ≤ {number(divergence.tolerance, 2)})"
    )


def _token(token: int, text: str | None) -> str:
    """The id and, in quotes that keep its spaces, the text."""
    return f"{token}" if text is None else f"{token} {plain(json.dumps(text, ensure_ascii=False))}"


def _bounds_text(bounds: tuple[float | None, float | None], factor: float) -> str:
    low, high = bounds
    if low is None or high is None:
        return ""
    return f" [{number(factor * low, 3)}, {number(factor * high, 3)}] (95 %)"


def missing_figures(agreement: AgreementFigures | None) -> Iterator[tuple[str, str]]:
    """(what, why) of what a reader would look for and not find."""
    if agreement is None:
        return
    if agreement.cosine_min is not None:
        return
    if agreement.compared_tokens is None:
        yield "agreement", agreement.reason or "no reason recorded"
    elif agreement.kl_nats_mean is None:
        yield "KL divergence from the reference", "the backend does not show its logits"


def detail_pairs(agreement: AgreementFigures | None) -> Iterator[tuple[str, str]]:
    """Every figure, for the cell's own part of a report."""
    if agreement is None:
        return
    yield "reference", plain(agreement.reference)
    if agreement.reason:
        yield "not compared", plain(agreement.reason)
    if agreement.cosine_min is not None:
        yield "cosine with the reference's embeddings, mean", number(agreement.cosine_mean, 6)
        yield "cosine with the reference's embeddings, smallest", number(agreement.cosine_min, 6)
    if agreement.compared_tokens is not None:
        yield from _token_pairs(agreement)
    if agreement.held:
        yield "verdict", "; ".join(map(plain, agreement.disagrees)) or "agrees within the limits"


def _token_pairs(agreement: AgreementFigures) -> Iterator[tuple[str, str]]:
    """What is known of greedy tokens and of logits."""
    yield "greedy tokens that agree", f"{agreement.agreed_tokens} of {agreement.compared_tokens}"
    yield "answers that first differ at a tie", str(agreement.ties)
    share = agreed_share(agreement)
    for name, key, value, factor in (
        ("share of equal greedy tokens", "agreed_share", share, 100.0),
        ("same most likely token", "top1_share", agreement.top1_share, 100.0),
        ("KL divergence, mean, nats/token", "kl_nats_mean", agreement.kl_nats_mean, 1.0),
        ("KL divergence, largest, nats/token", "kl_nats_max", agreement.kl_nats_max, 1.0),
    ):
        if value is not None:
            unit = " %" if factor > 1 else ""
            text = number(factor * value, 4 if unit else 3) + unit
            yield name, text + _bounds_text(bounds_of(agreement, key), factor)
    for name, key, ratio in (
        ("perplexity of the reference's answers, change", "perplexity_ratio", agreement.perplexity_ratio),
        ("perplexity of the text, change", "text_perplexity_ratio", agreement.text_perplexity_ratio),
    ):
        if ratio is not None:
            low, high = bounds_of(agreement, key)
            bounds = _bounds_text((low and low - 1, high and high - 1), 100.0)
            yield name, f"{100 * (ratio - 1):+.4f} %{bounds}"
    for divergence in agreement.divergences:
        yield f"answer {divergence.prompt + 1} parts", divergence_text(divergence)
