"""What is done in a block: requests, their outcome, and the workload that performs them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from joulebench.api.backend import BackendSession, Served
from joulebench.api.plugin import Plugin
from joulebench.api.values import Scalar, Settings

#: What workloads call the option for :meth:`Workload.batch_size`. Cells that differ in it do the same work: they take
#: turns and are held against each other.
BATCH: Final = "batch"


@dataclass(frozen=True, slots=True)
class Request:
    """One unit of repeated work: token ids in, and how many tokens to write.

    ``index`` is its position in the workload's list; ``text`` is the user's prompt, kept for
    the record (``None`` for generated token ids).
    """

    #: Position in the workload's list.
    index: int
    #: Token ids of the prompt.
    tokens: tuple[int, ...] = ()
    #: Tokens to write.
    new_tokens: int = 0
    #: The user's prompt; ``None`` for generated token ids.
    text: str | None = None
    #: Token ids of further sequences that are read in one batch with ``tokens``.
    others: tuple[tuple[int, ...], ...] = ()


@dataclass(slots=True)
class Outcome:
    """What one request did within the measured window."""

    #: Tokens of the prompt that were read: what the phase ``prefill`` is divided by.
    prefill_tokens: int = 0
    #: Tokens that calls of ``step()`` wrote: what the phase ``decode`` is divided by. An answer's first token comes
    #: from the prefill.
    decode_tokens: int = 0
    #: Work done in the workload's own ``unit``: the request's whole energy and time are divided by it.
    units: float = 0.0
    #: Sequences that were read and written at once; tokens are those of all of them.
    sequences: int = 1
    #: Ids of the answer (of a batch, its first), compared between runtimes; empty where nothing is written.
    output: list[int] = field(default_factory=list)
    #: Further sums over the request (``nll_nats`` of a score): the host adds them up over a block and
    #: hands the sums to ``Workload.quality``.
    values: dict[str, float] = field(default_factory=dict)
    #: Where the request is a window of load: what became of each request in it.
    served: list[Served] = field(default_factory=list)


class Recorder(Protocol):
    """Takes time stamps inside a request; energy counters are read at phase edges."""

    def phase(self, name: str) -> None:
        """End the running phase and begin ``name`` (``prefill``, ``decode``, …)."""

    def token(self) -> None:
        """Stamp a token that has just become known."""


@dataclass(frozen=True)
class WorkloadContext:
    """What a workload can use to make its requests, in the worker.

    ``tokenize(text, chat)`` gives token ids (``None`` when the model has no tokenizer);
    ``chat`` applies the model's own template where it has one.
    """

    #: Seed of the profile's protocol.
    seed: int
    #: Number of token ids.
    vocabulary_size: int | None
    #: Maximum tokens of one sequence.
    context_length: int | None
    #: Token ids of a text; ``None`` without a tokenizer.
    tokenize: Callable[[str, bool], list[int]] | None
    #: Ids that end a text.
    eos_tokens: frozenset[int] = frozenset()
    #: Whether a list of prompts is put in an order drawn by the seed; otherwise it keeps its own.
    shuffle: bool = True


class Workload(Plugin):
    """What is done in a block, and its unit of work."""

    #: The unit that results are given per: token, sequence, sentence, step, byte, operation, call, second.
    unit: ClassVar[str]
    #: Capabilities that the backend must declare.
    requires: ClassVar[frozenset[str]]
    #: Names of the phases that requests mark, in order.
    phases: ClassVar[tuple[str, ...]] = ()
    #: Whether a cell's quality and agreement are looked at: not where the model as a whole does not
    #: run (the bare hardware, single operators, nothing at all).
    judged: ClassVar[bool] = True

    def check(self, settings: Settings) -> str | None:
        """Why these settings cannot work together, or ``None``."""
        return None

    def batch_size(self, settings: Settings) -> int:
        """Sequences that a request reads and writes at once."""
        return 1

    def needs(self, settings: Settings) -> frozenset[str]:
        """Capabilities that these settings need of the backend."""
        return self.requires | {"batch"} if self.batch_size(settings) > 1 else self.requires

    def tokens_needed(self, settings: Settings) -> int:
        """The longest sequence (prompt and answer) that a request is sure to need; 0 if unknown."""
        return 0

    @abstractmethod
    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """The list that blocks go through in order; after its end, from the start again."""

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Bring the session to where the request begins, outside of the measured window."""
        return

    @abstractmethod
    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """Run one request. Only measured work belongs here."""

    def quality(self, totals: Mapping[str, float]) -> Mapping[str, Scalar]:
        """Quality figures from the sums of ``Outcome.values`` over all requests, if any."""
        return {}
