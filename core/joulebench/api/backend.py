"""Backends and the sessions that they open: a loaded model in the worker process."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from joulebench.api.artifacts import Artifact
from joulebench.api.plugin import Plugin
from joulebench.api.values import Scalar, Settings


@dataclass(frozen=True, slots=True)
class Device:
    """One place where a backend can run a model: ``cpu``, ``cuda:0``, …"""

    #: Name within the backend, as profiles and reports use it.
    name: str
    #: What it is, for ``joulebench doctor``.
    description: str = ""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The runtime's own account of its memory, in bytes; ``None`` where unknown."""

    #: Weights.
    weights_bytes: int | None = None
    #: Keys and values: allocated.
    kv_allocated_bytes: int | None = None
    #: Keys and values: in use.
    kv_used_bytes: int | None = None
    #: Other buffers.
    workspace_bytes: int | None = None
    #: Peak memory of the accelerator since the session was opened.
    device_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one decoded token moves and computes, counted from the loaded tensors.

    ``None`` where the runtime does not let its tensors be counted.
    """

    #: Bytes of weights that one token reads: every matrix once; of an embedding that only looks
    #: rows up, one row. A head that shares the embedding's matrix reads all of it.
    weights_bytes: int | None = None
    #: Bytes of keys and values that one token reads for each position before it.
    kv_position_bytes: int | None = None
    #: Floating-point operations in the weights' matrices for one token: a multiply and an add
    #: are two.
    operations: int | None = None
    #: Those of them in the output head, which a prefill does once, not for each of its tokens.
    head_operations: int | None = None


@dataclass(frozen=True, slots=True)
class Kernel:
    """A small piece of work that a session can repeat, with known traffic and operations.

    ``run(n)`` does it ``n`` times and returns when the last one is done. ``bytes_moved`` counts
    what it must read and write at least once; ``operations`` its floating-point operations.
    Where a runtime is better called once for many (all layers of a model), ``run(n)`` does
    ``n`` times ``together`` of them, and bytes and operations still are those of one.
    """

    #: Name, unique within the session.
    name: str
    #: Repeats it a number of times.
    run: Callable[[int], None]
    #: Bytes that one run reads and writes at least once.
    bytes_moved: int | None = None
    #: Floating-point operations of one run.
    operations: int | None = None
    #: How often one token's decode step does it (layers); 0 if it is not part of a model.
    per_token: int = 0
    #: Number type that it computes in, and other distinguishing facts.
    detail: str = ""
    #: How many of them one run does; a divisor of ``per_token`` where that is not 0.
    together: int = 1


@dataclass(frozen=True, slots=True)
class SimulatedCost:
    """What simulated hardware has spent since its session was opened, by its own clock.

    Seconds of the simulated device are unrelated to the time the simulation takes.
    ``energy_low_j`` and ``energy_high_j`` bound what the ranges of the model's inputs allow, which
    is not a statistical interval. ``None`` where the simulation gives none.
    """

    #: Time for which the device would have worked.
    device_s: float
    #: Clock cycles in that time.
    cycles: int | None = None
    #: Energy of the device by its model.
    energy_j: float | None = None
    #: The minimum and the maximum that the inputs' ranges allow.
    energy_low_j: float | None = None
    #: See ``energy_low_j``.
    energy_high_j: float | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request of a load: a prompt that arrives at a moment, whatever has been answered by then.

    ``due_s`` counts from the start of the load.
    """

    #: When it arrives, in seconds.
    due_s: float
    #: Its text.
    prompt: str
    #: Tokens of that.
    prompt_tokens: int
    #: Tokens to write, at most.
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Served:
    """What became of a request of a load, by the client's monotonic clock (``time.perf_counter_ns``)."""

    #: When it was to be sent.
    due_ns: int
    #: When it was sent.
    sent_ns: int
    #: When its first token came; ``None``: never.
    first_ns: int | None
    #: When its last came, or when it was given up.
    end_ns: int
    #: Tokens of its prompt.
    prompt_tokens: int
    #: Tokens of its answer.
    output_tokens: int
    #: Why there is no whole answer; ``None`` where there is one.
    fault: str | None = None


class ModelTokenizer(Protocol):
    """The tokenizer that a model's own file brings, as its runtime reads it."""

    #: Ids that end a text.
    eos_tokens: frozenset[int]
    #: The file's chat template (Jinja), which the host renders; ``None`` where it has none.
    chat_template: str | None
    #: What templates call ``bos_token`` and ``eos_token``, as far as there are such.
    special_texts: Mapping[str, str]

    def encode(self, text: str, special: bool) -> list[int]:
        """Ids of a text, in which names of special tokens count as these.

        ``special`` puts around it what the file asks for (a token that begins each text).
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""


class BackendSession(ABC):
    """A loaded model, in the worker process, with greedy decoding.

    A session implements what its backend can do and names it in the backend's
    ``capabilities``: ``generate`` (prefill and step), ``batch`` (these of several sequences at once),
    ``score``, ``logits``, ``encode``,
    ``train``, ``serve``, ``tokenize``, ``hardware``, ``operators``, ``kv.quantized``, ``kv.window``, ``kv.evict``,
    ``mlp.contextual``, ….
    """

    #: Maximum tokens (prompt and answer) of one sequence; ``None`` if unbounded.
    context_length: int | None = None
    #: Number of token ids; ids are 0 … vocabulary_size - 1.
    vocabulary_size: int | None = None
    #: Whether the model runs on another machine: memory, CPU time and energy of this one are then not its own.
    elsewhere: bool = False

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt (token ids) from an empty cache and return the first greedy token.

        Returns only when the token is known on the host, so that the caller's clock sees it.
        """
        raise self.lacking("prefill")

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        raise self.lacking("step")

    def prefill_batch(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """Read several prompts as one batch, from an empty cache; the first greedy token of each.

        What a sequence says does not depend on the others, but for rounding. Capability ``batch``.
        """
        raise self.lacking("prefill_batch")

    def step_batch(self) -> list[int]:
        """Feed each sequence of the batch its last returned token; the next greedy token of each."""
        raise self.lacking("step_batch")

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of ``tokens[1:]``, each given the preceding tokens."""
        raise self.lacking("score")

    def logits(self, tokens: Sequence[int]) -> Any:
        """The model's logits after each of ``tokens``, at the start of a sequence.

        A numpy array of float32, shaped (len(tokens), vocabulary_size). Leaves the sequence that
        is being generated in no defined state: :meth:`reset` follows.
        """
        raise self.lacking("logits")

    def encode(self, sequences: Sequence[Sequence[int]]) -> Any:
        """An embedding of each token sequence, read as one batch.

        A numpy array of float32, shaped (len(sequences), size). A sequence's embedding does not depend
        on what else is in the batch, but for rounding. How the states of its tokens become one vector is
        the session's fact ``pooling``.
        """
        raise self.lacking("encode")

    def train_step(self, tokens: Sequence[int]) -> float:
        """One optimiser step on the sequence; returns the loss in nats per token."""
        raise self.lacking("train_step")

    def serve(
        self, arrivals: Sequence[Arrival], limit_s: float, concurrency: int | None = None, until_s: float = math.inf
    ) -> Sequence[Served]:
        """Answer requests as they arrive, and return when all that were sent have ended. Capability ``serve``.

        With ``concurrency`` their times do not count: so many are always under way, and none is sent
        after ``until_s`` seconds. A request that has not ended ``limit_s`` seconds after it was sent is
        given up.
        """
        raise self.lacking("serve")

    def reset(self) -> None:
        """Forget the sequence (empty the KV cache); the model stays loaded and compiled."""
        raise self.lacking("reset")

    def synchronize(self) -> None:
        """Wait until the device has finished all submitted work; does nothing on a CPU."""
        return

    def hardware_kernel(self, name: str, size: int) -> Kernel:
        """A piece of work on the bare device with this session's threads and number type.

        ``read``, ``copy`` and ``triad`` stream over arrays of ``size`` bytes each; ``matmul``
        multiplies square matrices of ``size`` rows, ``matvec`` one of them with a vector;
        ``launch`` is the smallest call there is. Capability ``hardware``.
        """
        raise self.lacking("hardware_kernel")

    def operators(self, context: int) -> Sequence[Kernel]:
        """The model's own operators, as one token uses them after ``context`` positions.

        Together (each ``per_token`` times) they are the whole decode step, but for what the
        backend's documentation names. Capability ``operators``.
        """
        raise self.lacking("operators")

    @abstractmethod
    def memory(self) -> MemoryUse:
        """The runtime's account of its memory now."""

    def traffic(self) -> Traffic:
        """What one decoded token moves and computes, counted from the loaded tensors."""
        return Traffic()

    def observed(self, capability: str) -> Mapping[str, Scalar]:
        """What the session shows of one of its capabilities after work: a technique's evidence.

        For ``kv.quantized``, ``kv.window`` and ``kv.evict`` the tokens and bytes in the KV cache of
        the last sequence; for ``mlp.contextual`` the active shares of the last tokens.
        """
        raise self.lacking(f"observed('{capability}')")

    def simulated(self) -> SimulatedCost | None:
        """What the simulated hardware has spent so far; ``None`` where nothing is simulated.

        A session that runs its model on hardware that is not here answers with rising figures, at
        each edge of a phase and at each token. They become the cell's time and energy; this
        machine's seconds and joules are then the simulator's. Its facts may say ``hardware``,
        ``evidence`` (what the figures rest on) and ``not_modelled``.
        """
        return None

    def tokenizer(self) -> ModelTokenizer | None:
        """The tokenizer in the model's own file, for a model that comes without ``tokenizer.json``.

        Asked once, after loading. ``None`` where the file has none. Capability ``tokenize``.
        """
        return None

    def facts(self) -> Mapping[str, Scalar]:
        """What the session uses (dtype, kernels, threads), for the cell's record.

        ``dtype`` is the number type of the weights and of the computation. A cell without
        technique whose fact is ``float32`` must agree with the reference of the agreement check.
        """
        return {}

    def process_id(self) -> int | None:
        """The process that runs the model, if that is another one; otherwise ``None``.

        Its memory and CPU time are then the cell's. It must have been started by this session,
        in the same process group, and live as long as the session.
        """
        return None

    def close(self) -> None:
        """Release the session's resources."""
        return

    def lacking(self, what: str) -> Exception:
        """The error for a call that this session's backend does not implement."""
        return NotImplementedError(f"{type(self).__name__} does not implement {what}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backend(Plugin):
    """A runtime that executes models."""

    #: Artifact formats that :meth:`open` takes, best first.
    accepts: ClassVar[tuple[str, ...]]
    #: What its sessions can do (:class:`BackendSession`).
    capabilities: ClassVar[frozenset[str]]

    @abstractmethod
    def devices(self) -> tuple[Device, ...]:
        """Devices of this machine that the backend can use. Imports nothing heavy."""

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Why this model (its ``config.json``) cannot run with these settings, or ``None``."""
        return None

    def check_file(self, model: Path) -> str | None:
        """Why the runtime cannot open this model file, which no converter wrote, or ``None``.

        Asked by the plan where a user's own file runs as it is: an architecture that the installed
        version does not know, a tensor that is missing. Reads no weights and imports nothing heavy
        into this process (:func:`joulebench.backendkit.asked_elsewhere` asks another).
        """
        return None

    def formats(self, settings: Settings) -> tuple[str, ...]:
        """Artifact formats that :meth:`open` takes with these settings, best first."""
        return self.accepts

    def abilities(self, settings: Settings) -> frozenset[str]:
        """Capabilities that a session with these settings has."""
        return self.capabilities

    def abilities_with(self, settings: Settings, config: Mapping[str, object] | None) -> frozenset[str]:
        """Those of a session on a model of this ``config.json`` (``None``: not known yet).

        Where a runtime runs models of several kinds, not each of them can do everything.
        """
        return self.abilities(settings)

    def conversion_settings(self, settings: Settings) -> Settings:
        """Option values for the converters that make this backend's artifact.

        A converter takes those that it has an option of that name for (such as ``dtype``).
        """
        return {}

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """Environment variables that the worker needs before the runtime is imported."""
        return {}

    @abstractmethod
    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Load the model. Called once in a fresh worker process."""
