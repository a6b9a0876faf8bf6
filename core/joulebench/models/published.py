"""Published models: what papers, model cards and a survey's table say of them, as data.

Units are the survey's: parameters and training tokens in billions (10⁹), so that the ALScore is
√(parameters · tokens) / 300 of numbers such as 7 and 6,000.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KINDS: Final = ("decoder", "encoder", "attention", "multimodal")
_BILLION: Final = 1e9
#: The divisor of the ALScore (LifeArchitect.ai's measure, which the survey takes over).
_ALSCORE_DIVISOR: Final = 300.0


@dataclass(frozen=True, slots=True)
class SurveyRow:
    """What the survey's Table 1 prints of a model; ``ratio`` only where its print is known to differ."""

    parameters_b: float
    tokens_b: float
    ratio: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model and what was published of it. Unknown is ``None``.

    ``place`` is where the survey names it. ``shape`` is the shape of the catalogue that it has,
    ``without_shape`` the reason why none is known.
    """

    name: str
    title: str
    lab: str
    year: int
    kind: str
    place: str
    sources: tuple[str, ...]
    survey: SurveyRow | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    training_tokens: int | None = None
    licence: str | None = None
    hub: str | None = None
    gated: bool = False
    remote_code: bool = False
    shape: str | None = None
    without_shape: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> PublishedModel:
        """An entry of the catalogue. Raises ``TypeError`` or ``KeyError`` where it is none."""
        survey = entry.get("survey")
        lists = {key: tuple(entry.get(key, ())) for key in ("sources", "notes")}
        kind = entry["kind"]
        if kind not in KINDS:
            raise KeyError(f"a kind of {', '.join(KINDS)} ({name})")
        row = None if survey is None else SurveyRow(**survey)
        return cls(**{**entry, **lists, "name": name, "survey": row})

    @property
    def is_mixture(self) -> bool:
        """Whether a token uses only some of its parameters (mixture of experts)."""
        return self.active_parameters is not None

    @property
    def parameters_b(self) -> float | None:
        """Parameters in 10⁹, of the papers and model cards."""
        return None if self.parameters is None else self.parameters / _BILLION

    @property
    def tokens_b(self) -> float | None:
        """Training tokens in 10⁹, of the papers and model cards."""
        return None if self.training_tokens is None else self.training_tokens / _BILLION

    @property
    def ratio(self) -> float | None:
        """Training tokens for each parameter, of the papers and model cards."""
        return _ratio(self.parameters_b, self.tokens_b)

    @property
    def alscore(self) -> float | None:
        """The ALScore of the papers' and model cards' numbers."""
        return alscore(self.parameters_b, self.tokens_b)

    @property
    def survey_ratio(self) -> float | None:
        """Training tokens for each parameter, of the survey's numbers."""
        return None if self.survey is None else _ratio(self.survey.parameters_b, self.survey.tokens_b)

    @property
    def survey_alscore(self) -> float | None:
        """The ALScore of the survey's numbers."""
        return None if self.survey is None else alscore(self.survey.parameters_b, self.survey.tokens_b)


def alscore(parameters_b: float | None, tokens_b: float | None) -> float | None:
    """√(parameters · tokens) / 300, both in 10⁹; a pure number."""
    if parameters_b is None or tokens_b is None:
        return None
    return math.sqrt(parameters_b * tokens_b) / _ALSCORE_DIVISOR


def _ratio(parameters_b: float | None, tokens_b: float | None) -> float | None:
    return None if parameters_b is None or tokens_b is None else tokens_b / parameters_b
