"""What a worker is told when it opens a model, and what its answers mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from joulebench.api import Artifact, Scalar
from joulebench.environments.python import OtherPython
from joulebench.plan.cells import PreparedSession
from joulebench.profile.measurement import RunLimits
from joulebench.protocol import OpenOrder
from joulebench.worker.process import Cause, WorkerError

T = TypeVar("T")

#: Most time for a worker to start and say hello: it imports the plugins, no model runtime.
GREETING_S: Final = 60.0
#: exp() of more than this overflows a double.
_LARGEST_MEAN: Final = 700.0


@dataclass(frozen=True, slots=True)
class Job:
    """What a cell needs to start a worker, settled before the run."""

    artifact: Artifact
    checkpoint: Path | None
    environment: dict[str, str]
    session: PreparedSession
    evidence: dict[str, dict[str, Scalar]]
    can_score: bool
    #: Whether quality and agreement are looked at.
    judged: bool
    seed: int
    shuffle: bool
    limits: RunLimits
    #: What runs the worker, if not this interpreter.
    python: OtherPython | None = None
    #: Whether a session that has no checkpoint has the tokenizer of the model's own file.
    own_tokenizer: bool = False

    @property
    def can_be_judged(self) -> bool:
        """Whether a session is to score a text, and can with the model's own tokenizer."""
        folder = self.checkpoint
        reads = self.own_tokenizer if folder is None else (folder / "tokenizer.json").is_file()
        return self.judged and self.can_score and reads


@dataclass(frozen=True, slots=True)
class ScoredText:
    """The text that perplexity is taken from: its name, its file, tokens of it and of a window."""

    name: str
    path: str
    tokens: int
    window: int

    def order(self) -> dict[str, object]:
        """The request to a worker."""
        return {"op": "score", "text": self.path, "tokens": self.tokens, "window": self.window}

    def score(self, answer: Mapping[str, Any]) -> TextScore | None:
        """What a worker answers; ``None`` where it scored no token.

        Perplexity = exp(mean negative log-likelihood in nats). Raises ``KeyError``, ``TypeError`` or
        ``ValueError`` where the answer is none.
        """
        nll_nats, tokens = float(answer["nll_nats"]), int(answer["tokens"])
        if tokens <= 0:
            return None
        mean = nll_nats / tokens
        windows = tuple((float(nats), int(count)) for nats, count in answer.get("windows") or ())
        return TextScore(math.exp(mean) if mean < _LARGEST_MEAN else math.inf, mean, tokens, self.name, windows)


@dataclass(frozen=True, slots=True)
class TextScore:
    """Perplexity of a text, with what it rests on.

    ``windows`` are (nats, tokens) of each window, as far as the worker tells them, ``note`` what
    the reader must know of the text.
    """

    perplexity: float
    nll_nats_per_token: float
    tokens: int
    text: str
    windows: tuple[tuple[float, int], ...]
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """As ``quality_json`` of a cell has it."""
        return {name: value for name, value in asdict(self).items() if name != "note" or value}


def opening_order(
    job: Job, backend: str, device: str, workload: str | None = None, edges: Sequence[Mapping[str, Any]] = ()
) -> OpenOrder:
    """The request that opens a session; without a workload for what is not to be measured."""
    return OpenOrder(
        backend=backend,
        artifact=job.artifact,
        checkpoint=job.checkpoint,
        device=device,
        settings=job.session.settings,
        runtime=tuple((step.name, step.settings) for step in job.session.runtime_steps),
        workload=workload,
        workload_settings=job.session.workload_settings,
        seed=job.seed,
        shuffle=job.shuffle,
        edges=tuple(edges),
    )


def decoded(decode: Callable[[Mapping[str, Any]], T], answer: Mapping[str, Any]) -> T:
    """The answer's meaning; one without a meaning is the worker's failure."""
    try:
        return decode(answer)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        message = f"the worker's answer is invalid: {type(error).__name__}: {error}"
        raise WorkerError(Cause("error", message)) from None
