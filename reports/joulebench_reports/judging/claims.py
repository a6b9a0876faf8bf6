"""What a survey says of compression, held against what was measured here.

The claims are those of the survey's table of techniques ("Table 3") that this project set out to
test. A claim is of the form "a technique of this family does that": one cell that does it for sure
confirms it *here*, on this machine, model and text. It is refuted where every cell misses it for
sure. All else is not testable: no cell, no interval, or one that contains the claimed value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from joulebench_reports.values.claims import Case, CaseOutcome, Claim, ClaimVerdict
from joulebench_reports.values.techniques import Relative, TechniqueCost
from joulebench_reports.words.text import number

#: Pruning: so much smaller, at so much less quality (as growth of perplexity).
_SMALLER: Final = 0.60
_LOSS: Final = 0.02
#: Quantization: so much less computing, and so much faster.
_LESS_COMPUTE: Final = 0.50
_FASTER: Final = 0.30

#: An interval whose ends are further apart (as a ratio) is not told.
_WIDEST: Final = 16.0
#: Per cent of a size that a configuration file may make.
_UNSEEN: Final = 0.01


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def judge_claims(costs: Sequence[TechniqueCost]) -> tuple[Claim, ...]:
    """All claims against the compressed cells of one model and workload."""
    pruned = [cost for cost in costs if cost.families == ("pruned",)]
    quantized = [cost for cost in costs if cost.families == ("quantized",)]
    return (
        _judged(
            f"Pruning makes a model {_percent(_SMALLER)} smaller at less than {_percent(_LOSS)} loss",
            "Size is that of the files; loss is the growth of perplexity.",
            pruned,
            _pruning,
        ),
        _judged(
            f"Quantization takes {_percent(_LESS_COMPUTE)} less computing",
            "Computing is read as processor time for a unit of work.",
            quantized,
            _computing,
        ),
        _judged(
            f"Quantization makes inference {_percent(_FASTER)} faster",
            "Speed is tokens a second of decoding (else work a second).",
            quantized,
            _speed,
        ),
    )


def _judged(text: str, reading: str, costs: Sequence[TechniqueCost], judge: Callable[[TechniqueCost], Case]) -> Claim:
    cases = tuple(judge(cost) for cost in costs)
    outcomes = {case.outcome for case in cases}
    verdict: ClaimVerdict = "not testable here"
    if "does" in outcomes:
        verdict = "confirmed here"
    elif outcomes == {"does not"}:
        verdict = "refuted here"
    return Claim(text, reading, verdict, cases)


def _pruning(cost: TechniqueCost) -> Case:
    """Both at once: as small as claimed, and no worse for sure.

    A cell that is not yet so small and already loses more for sure does not do it either. One
    that loses little and is not so small says nothing: it was not pruned that far.
    """
    loss = cost.perplexity
    figures = f"{_less(cost.size)} on disk ({cost.evidence or 'no evidence'}), perplexity {_more(loss)}"
    outcome: CaseOutcome = "open"
    if loss.low is not None and loss.high is not None and cost.size.value is not None:
        small = cost.size.value <= 1 - _SMALLER
        if small and loss.high < 1 + _LOSS:
            outcome = "does"
        elif loss.low > 1 + _LOSS:
            outcome = "does not"
    return Case(cost.label, outcome, figures)


def _computing(cost: TechniqueCost) -> Case:
    processor = cost.processor
    figures = f"processor time {_more(processor)} ({cost.evidence or 'no evidence'})"
    return Case(cost.label, _beyond(processor, 1 - _LESS_COMPUTE, less=True), figures)


def _speed(cost: TechniqueCost) -> Case:
    figures = f"speed {_more(cost.rate)} ({cost.evidence or 'no evidence'})"
    return Case(cost.label, _beyond(cost.rate, 1 + _FASTER, less=False), figures)


def _beyond(relative: Relative, claimed: float, *, less: bool) -> CaseOutcome:
    """Whether the whole interval lies where the claim says; without turns nothing is told."""
    if relative.low is None or relative.high is None or not relative.in_turns:
        return "open"
    if less:
        return "does" if relative.high <= claimed else "does not" if relative.low > claimed else "open"
    return "does" if relative.low >= claimed else "does not" if relative.high < claimed else "open"


def _less(relative: Relative) -> str:
    if relative.value is None:
        return "size unknown"
    less = 100 * (1 - relative.value)
    if abs(less) < _UNSEEN:
        return "0 % smaller"
    return f"{number(abs(less))} % {'smaller' if less > 0 else 'larger'}"


def _more(relative: Relative) -> str:
    """``+1.2 % [0.8, 1.7]``, or why it is unknown."""
    if relative.value is None:
        return f"unknown ({relative.reason or 'no figure'})"
    text = f"{100 * (relative.value - 1):+.1f} %"
    if relative.low is None or relative.high is None:
        text += ", no interval"
    elif not 0 < relative.high <= _WIDEST * max(relative.low, 0.0):
        text += ", too noisy"
    else:
        text += f" [{100 * (relative.low - 1):+.1f}, {100 * (relative.high - 1):+.1f}]"
    return text if relative.in_turns else f"{text}, not in turns"
