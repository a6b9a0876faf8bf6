"""Whether a cell says the same as its reference: the figures, and where they stop being the same.

Plain values and arithmetic. What the figures come from is in :mod:`joulebench.worker.reference`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from joulebench.api import Scalar
from joulebench.meter.clusters import Clustered, log_ratio_over_clusters, positive_over_clusters, share_over_clusters

#: Two logits closer than this share of the spread (the largest logit minus their mean) are a tie:
#: rounding may order them either way. Correct float32 programs add in different orders. A sum of n
#: products errs by about √n·2⁻²⁴ of its terms' size (Higham and Mary, "A New Approach to
#: Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41, 2019); n ≈ 1,500 in some 200
#: matrix products one after another make 3·10⁻⁵. Between kernels of one runtime 3·10⁻⁶ was seen.
#: bfloat16 is off by 10⁻² and more, float16 by 10⁻³: neither can hide behind a tie.
TIE_SHARE: Final = 1e-4
#: Fact ``dtype`` of a session that is held to its reference.
FULL_PRECISION: Final = "float32"
#: What a full-precision cell without technique must reach.
LEAST_SHARE: Final = 0.99
MOST_PERPLEXITY_CHANGE: Final = 0.001
#: Cosine with the reference's embedding that a full-precision encoder must reach: float32 programs stay
#: above 1 - 10⁻⁶, a mask that lets padding through or another pooling falls below 0.99.
LEAST_COSINE: Final = 0.9999
#: exp() of more than this overflows a double.
_LARGEST_EXPONENT: Final = 700.0


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a cell's greedy tokens first part from the reference's, in one prompt.

    ``gap`` is the reference's logit of its own token minus that of the cell's token; ``tolerance``
    is the gap up to which it is a tie. ``position`` counts the answer's tokens from 0.
    """

    prompt: int
    position: int
    reference_token: int
    token: int
    gap: float
    tolerance: float
    reference_text: str | None = None
    text: str | None = None

    @property
    def tie(self) -> bool:
        """Whether rounding alone may have decided."""
        return self.gap <= self.tolerance


@dataclass(frozen=True, slots=True)
class ForcedPrompt:
    """The sums of :class:`Forced` over one answer alone; ``kl_nats`` is the sum, not the mean."""

    positions: int
    top1: int
    kl_nats: float
    nll_nats: float
    reference_nll_nats: float


@dataclass(frozen=True, slots=True)
class Forced:
    """What both models expect at each position of the reference's own answers.

    ``top1`` counts positions with the same most likely token. KL is that of the cell's
    distribution from the reference's, in nats.
    """

    positions: int
    top1: int
    kl_nats_mean: float
    kl_nats_max: float
    nll_nats: float
    reference_nll_nats: float
    #: The same by answer, which intervals need; empty where the worker did not tell.
    by_prompt: tuple[ForcedPrompt, ...] = ()

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity of the answers over the reference's."""
        change = (self.nll_nats - self.reference_nll_nats) / self.positions
        return math.exp(change) if change < _LARGEST_EXPONENT else math.inf


@dataclass(frozen=True, slots=True)
class Encoded:
    """Cosines of embeddings with the reference's, over sentences."""

    cosine_mean: float
    cosine_min: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a worker found: ``prompts`` answers of ``tokens`` tokens each; logits where it can.

    Of an encoder, which writes nothing, ``tokens`` is 0 and ``encoded`` has its embeddings.
    """

    prompts: int
    tokens: int
    divergences: tuple[Divergence, ...]
    forced: Forced | None
    encoded: Encoded | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        """Decode a worker's answer. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
        forced = data["forced"]
        comparison = cls(
            int(data["prompts"]),
            int(data["tokens"]),
            tuple(Divergence(**divergence) for divergence in data["divergences"]),
            None if forced is None else _forced(forced),
            None if data.get("encoded") is None else Encoded(**data["encoded"]),
        )
        written = comparison.tokens if comparison.encoded is None else 1
        if comparison.prompts < 1 or written < 1 or (comparison.forced and comparison.forced.positions < 1):
            raise ValueError("nothing was compared")
        return comparison

    def to_json(self) -> dict[str, object]:
        """As :meth:`from_json` takes it."""
        return asdict(self)

    @property
    def compared_tokens(self) -> int:
        """Tokens that can be held against the reference's.

        After a tie both go on from other texts, so what follows it says nothing. What follows any
        other divergence counts as wrong.
        """
        lost = sum(self.tokens - divergence.position for divergence in self.divergences if divergence.tie)
        return self.prompts * self.tokens - lost

    @property
    def agreed_tokens(self) -> int:
        """Of the compared tokens, those before any divergence."""
        return self.prompts * self.tokens - sum(self.tokens - divergence.position for divergence in self.divergences)

    @property
    def agreed_by_prompt(self) -> list[tuple[int, int]]:
        """(agreed, compared) tokens of each answer."""
        parted = {divergence.prompt: divergence for divergence in self.divergences}
        counts: list[tuple[int, int]] = []
        for prompt in range(self.prompts):
            first = parted.get(prompt)
            agreed = self.tokens if first is None else first.position
            counts.append((agreed, agreed if first is not None and first.tie else self.tokens))
        return counts

    @property
    def ties(self) -> int:
        """Prompts whose answers part at a tie."""
        return sum(divergence.tie for divergence in self.divergences)


def _forced(data: Mapping[str, Any]) -> Forced:
    by_prompt = tuple(ForcedPrompt(**forced) for forced in data.get("by_prompt") or ())
    return Forced(**{**data, "by_prompt": by_prompt})


def intervals(comparison: Comparison) -> dict[str, list[float | None]]:
    """95 % intervals of the comparison's figures, the answers being the units."""
    agreed = comparison.agreed_by_prompt
    figures: dict[str, Clustered | None] = {
        # An answer agrees up to where it parts, and not at all after that.
        "agreed_share": share_over_clusters([a for a, _ in agreed], [c for _, c in agreed], all_or_none=1.0)
    }
    by_prompt = comparison.forced.by_prompt if comparison.forced else ()
    if by_prompt:
        sizes = [forced.positions for forced in by_prompt]
        kl = positive_over_clusters([forced.kl_nats for forced in by_prompt], sizes)
        changes = [forced.nll_nats - forced.reference_nll_nats for forced in by_prompt]
        figures |= {
            "top1_share": share_over_clusters([forced.top1 for forced in by_prompt], sizes),
            "kl_nats_mean": kl,
            "perplexity_ratio": log_ratio_over_clusters(changes, sizes),
        }
        if kl is not None and kl.low is not None:  # no divergence is below 0
            figures["kl_nats_mean"] = replace(kl, low=max(0.0, kl.low))
    return {name: [interval.low, interval.high] for name, interval in figures.items() if interval is not None}


@dataclass(frozen=True, slots=True)
class AgreementRecord:
    """``agreement_json`` of a cell.

    ``reason`` says why there is no comparison: then all its figures are ``None``. ``held`` says
    that the cell should say the same as its reference, ``disagrees`` in what it does not.
    """

    reference: Mapping[str, Scalar]
    reason: str | None
    prompts: int | None = None
    tokens: int | None = None
    agreed_tokens: int | None = None
    compared_tokens: int | None = None
    ties: int | None = None
    divergences: tuple[Divergence, ...] | None = None
    positions: int | None = None
    top1_share: float | None = None
    kl_nats_mean: float | None = None
    kl_nats_max: float | None = None
    perplexity_ratio: float | None = None
    text_perplexity_ratio: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    intervals: Mapping[str, list[float | None]] = field(default_factory=dict)
    held: bool = False
    disagrees: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As the session records it."""
        parted = self.divergences
        told = None if parted is None else [{**asdict(divergence), "tie": divergence.tie} for divergence in parted]
        return {**asdict(self), "divergences": told}


def agreement_record(
    reference: Mapping[str, Scalar], comparison: Comparison | None, reason: str | None
) -> AgreementRecord:
    """The record of a comparison, but for the cell's perplexity on a text and the verdict.

    ``reason`` says why there is no comparison.
    """
    if comparison is None:
        return AgreementRecord(reference, reason)
    if (encoded := comparison.encoded) is not None:
        return AgreementRecord(
            reference,
            reason,
            prompts=comparison.prompts,
            cosine_mean=encoded.cosine_mean,
            cosine_min=encoded.cosine_min,
        )
    forced = comparison.forced
    return AgreementRecord(
        reference,
        reason,
        prompts=comparison.prompts,
        tokens=comparison.tokens,
        agreed_tokens=comparison.agreed_tokens,
        compared_tokens=comparison.compared_tokens,
        ties=comparison.ties,
        divergences=comparison.divergences,
        positions=forced.positions if forced else None,
        top1_share=forced.top1 / forced.positions if forced else None,
        kl_nats_mean=forced.kl_nats_mean if forced else None,
        kl_nats_max=forced.kl_nats_max if forced else None,
        perplexity_ratio=forced.perplexity_ratio if forced else None,
        intervals=intervals(comparison),
    )


def verdict(record: AgreementRecord) -> tuple[str, ...]:
    """In what a cell that should say the same as its reference does not; empty if it does."""
    lines: list[str] = []
    parted = sum(not divergence.tie for divergence in record.divergences or ())
    if parted:
        answers = f"the answer to {parted} prompt{'s' if parted > 1 else ''}"
        lines.append(f"{answers} parted from the reference beyond a tie")
    share = record.top1_share
    if share is not None and share < LEAST_SHARE:
        lines.append(f"the most likely token is the same at {100 * share:.2f} % of positions only")
    for ratio, what in ((record.perplexity_ratio, "its answers"), (record.text_perplexity_ratio, "the text")):
        if ratio is not None and abs(ratio - 1) > MOST_PERPLEXITY_CHANGE:
            lines.append(f"perplexity of {what} is off by {100 * (ratio - 1):+.2f} %")
    if record.cosine_min is not None and record.cosine_min < LEAST_COSINE:
        lines.append(f"an embedding is not the reference's: cosine {record.cosine_min:.4f}")
    return tuple(lines)
