"""What a plugin sees: the values it exchanges with the host and the classes it implements.

Everything here is light to import (standard library only): a plugin's module is imported by
every command, so it must keep its heavy imports inside the methods that need them.

Units stand in names (``_s``, ``_j``, ``_w``, ``_bytes``, ``_c``, ``_ns``). Unknown is ``None``,
never 0.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol, Self

if TYPE_CHECKING:
    from joulebench.session.files import Session

#: Plugins state the major version that they were written for as ``JOULEBENCH_API``. The host
#: refuses another major version; additions that break nothing do not change it.
API_VERSION = 1

#: A value that a profile can give to an option.
OptionValue = str | int | float | bool
#: Option values by name, checked and completed with defaults before a plugin sees them.
Settings = Mapping[str, OptionValue]
#: A value in a record of evidence or quality.
Scalar = str | int | float | bool | None

Provenance = Literal["measured", "estimated", "simulated"]
#: All provenances in the order of the trust that they deserve. Sums and rankings never mix them.
PROVENANCES: Final[tuple[Provenance, ...]] = ("measured", "estimated", "simulated")
Quantity = Literal["energy", "power", "temperature", "memory", "frequency", "cpu_time", "throttle", "utilization"]
OptionType = Literal["str", "int", "float", "bool", "file", "share", "bytes", "command"]


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a plugin, as a profile may give it.

    A ``share`` is written ``"2%"`` or ``0.02`` and arrives as a float; ``bytes`` is written
    ``"4GiB"`` or as a number and arrives as an int. ``None`` as default means not set.
    A ``file`` option holds a path (relative to the profile's folder), ``builtin:NAME`` (a text
    in a profile folder) or ``catalogue:NAME`` (a text that is fetched with its hash); the host
    resolves it to an existing path before the plugin sees it.
    A ``command`` is a list of words, the first a program (relative to the profile's folder if it
    holds a slash); it arrives as one text that :func:`shlex.split` takes apart.
    """

    name: str
    type: OptionType
    default: OptionValue | None
    doc: str
    choices: tuple[OptionValue, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether something works here; if not, why, and what would cure it."""

    ok: bool
    reason: str | None = None
    cure: str | None = None

    @classmethod
    def yes(cls) -> Availability:
        """It works here."""
        return cls(True)

    @classmethod
    def no(cls, reason: str, cure: str | None = None) -> Availability:
        """It does not work here, for ``reason``; ``cure`` says what would change that."""
        return cls(False, reason, cure)


def require_modules(modules: Sequence[str], extra: str) -> Availability:
    """Availability of importable ``modules``, without importing them.

    The cure names the extra of this distribution that installs them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return Availability.yes()
    return Availability.no(f"not installed: {', '.join(missing)}", f"pip install 'joulebench[{extra}]'")


def distribution_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions of distributions, by metadata alone; missing ones are left out."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


#: File systems whose files the kernel makes up as they are read.
_KERNEL_FILES = frozenset({"sysfs", "proc", "cgroup2", "debugfs"})


def provenance_of_file(path: Path) -> Provenance:
    """``measured`` where the kernel serves the file (sysfs, proc), ``simulated`` elsewhere.

    A sensor's tree that lies on a disk is somebody's imitation (a test's, a demonstration's): what
    is read there must never be taken for a measurement.
    """
    try:
        device = path.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "simulated"
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        # proc(5): id, parent, major:minor, root, mount point, options, …, "-", type, source, …
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            return "measured" if rest.split()[0] in _KERNEL_FILES else "simulated"
    return "simulated"


#: What an environment may be called: its name becomes a part of paths.
ENVIRONMENT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Environment:
    """Packages that a plugin's work needs and that cannot lie beside those of joulebench.

    ``requirements`` are as ``pip install`` takes them. joulebench itself and the distribution of
    the plugin are installed beside them, from where they were installed here. Plugins that need
    the same may share an environment by declaring equal ones. ``python_least`` and
    ``python_below`` bound the interpreter's version, as (major, minor).
    """

    name: str
    requirements: tuple[str, ...]
    python_least: tuple[int, int] | None = None
    python_below: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not ENVIRONMENT_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot be the name of an environment")
        for each in self.requirements:
            if not each.strip() or each.startswith("-"):
                raise ValueError(f"{each!r} is no requirement")

    @property
    def python_range(self) -> str:
        """The versions of the interpreter in words: ``3.11 or newer, older than 3.14``."""
        least = None if self.python_least is None else "{}.{} or newer".format(*self.python_least)
        below = None if self.python_below is None else "older than {}.{}".format(*self.python_below)
        return ", ".join(filter(None, (least, below))) or "of any version"


class Plugin(ABC):
    """What all plugin classes have: a unique name, a line of description, and options."""

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    options: ClassVar[tuple[Option, ...]] = ()
    #: Where the work of a technique, converter or backend is done, if not in joulebench's own
    #: interpreter. `available`, `versions` and `devices` are then asked there.
    environment_needs: ClassVar[Environment | None] = None

    def available(self) -> Availability:
        """Whether the plugin can work here. Must be quick and import nothing heavy."""
        return Availability.yes()

    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that the results depend on, by distribution name."""
        return {}

    def default_settings(self) -> dict[str, OptionValue]:
        """The options that have a default, at that."""
        return {each.name: each.default for each in self.options if each.default is not None}


# ---------------------------------------------------------------------------------------------
# Artifacts: models on disk


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model on disk in one format (``hf``: a folder with config.json and safetensors).

    ``content_hash`` is the sha256 over names and contents of its files; ``lineage`` lists the
    steps that made it, oldest first.
    """

    format: str
    path: Path
    content_hash: str
    size_bytes: int
    lineage: tuple[str, ...] = ()


class Converter(Plugin):
    """Turns an artifact of one format into another. Runs in a process of its own."""

    source: ClassVar[str]
    target: ClassVar[str]

    def supports(self, architecture: str | None) -> str | None:
        """Why a model of this ``config.json`` architecture cannot be converted, or ``None``."""
        return None

    @abstractmethod
    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the converted model into the empty folder ``output``.

        ``source`` is the source artifact's path. A partial result is discarded by the host when
        this raises.
        """


class ArtifactTechnique(Plugin):
    """A compression that rewrites a model on disk. Runs in a process of its own.

    ``stage`` is ``checkpoint`` (HF weights to HF weights, so it reaches every backend) or
    ``artifact`` (a format to a format).
    """

    stage: ClassVar[Literal["checkpoint", "artifact"]]
    accepts: ClassVar[str]
    produces: ClassVar[str]

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Why these settings do not fit a model of this ``config.json``, or ``None``."""
        return None

    @abstractmethod
    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the compressed model into the empty folder ``output``."""

    @abstractmethod
    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """What is observed to have changed (zero fraction, dtypes, bytes), read from the files."""


class RuntimeTechnique(Plugin):
    """A compression that acts while the model runs, through options of the backend's session."""

    stage: ClassVar[Literal["runtime"]] = "runtime"
    #: Capabilities that a backend must declare for this technique (such as ``kv.quantized``).
    requires: ClassVar[frozenset[str]]

    @abstractmethod
    def session_options(self, settings: Settings) -> Settings:
        """Options merged into those given to :meth:`Backend.open`.

        They are options that the backend declares; where it lacks one, or that value of it, the
        cell is skipped with that reason.
        """

    @abstractmethod
    def evidence(self, session: BackendSession, settings: Settings) -> Mapping[str, Scalar]:
        """What is observed in the open session after a block (KV bytes allocated, dtypes)."""


Technique = ArtifactTechnique | RuntimeTechnique


# ---------------------------------------------------------------------------------------------
# Backends


@dataclass(frozen=True, slots=True)
class Device:
    """One place where a backend can run a model: ``cpu``, ``cuda:0``, …"""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The runtime's own account of its memory, in bytes; ``None`` where it does not say."""

    weights_bytes: int | None = None
    kv_allocated_bytes: int | None = None
    kv_used_bytes: int | None = None
    workspace_bytes: int | None = None
    #: Most memory of the accelerator that was in use since the session was opened.
    device_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one decoded token has to move and to compute, counted from the loaded tensors.

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
    """Something small that a session can do over and over, with known traffic and work.

    ``run(n)`` does it ``n`` times and returns when the last one is done. ``bytes_moved`` counts
    what it must read and write at least once; ``operations`` its floating-point operations.
    Where a runtime is better called once for many (all layers of a model), ``run(n)`` does
    ``n`` times ``together`` of them, and bytes and operations still are those of one.
    """

    name: str
    run: Callable[[int], None]
    bytes_moved: int | None = None
    operations: int | None = None
    #: How often one token's decode step does it (layers); 0 for what is no part of a model.
    per_token: int = 0
    #: Number type that it computes in, and what else tells it from others.
    detail: str = ""
    #: How many of them one run does; a divisor of ``per_token`` where that is not 0.
    together: int = 1


@dataclass(frozen=True, slots=True)
class SimulatedCost:
    """What simulated hardware has spent since its session was opened, by its own clock.

    Seconds of the simulated device have nothing to do with those that simulating it takes.
    ``energy_low_j`` and ``energy_high_j`` bound what the ranges of the model's inputs allow, which
    is no statistical interval. ``None`` where the simulation does not tell.
    """

    #: Time that the device would have worked.
    device_s: float
    #: Clock cycles in that time.
    cycles: int | None = None
    #: Energy of the device by its model.
    energy_j: float | None = None
    #: The least and the most that the inputs' ranges allow.
    energy_low_j: float | None = None
    energy_high_j: float | None = None


class BackendSession(ABC):
    """A loaded model, in the worker process. One sequence at a time, greedy decoding.

    A session implements what its backend can do and names it in the backend's
    ``capabilities``: ``generate`` (prefill and step), ``score``, ``logits``, ``encode``,
    ``train``, ``hardware``, ``operators``, ``kv.quantized``, ``kv.window``, ``kv.evict``,
    ``mlp.contextual``, ….
    """

    #: Most tokens (prompt and answer) that one sequence may hold; ``None`` if unbounded.
    context_length: int | None = None
    #: Number of token ids; ids are 0 … vocabulary_size - 1.
    vocabulary_size: int | None = None

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt (token ids) from an empty cache and return the first greedy token.

        Returns only when the token is known on the host, so that the caller's clock sees it.
        """
        raise self.lacking("prefill")

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        raise self.lacking("step")

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of ``tokens[1:]`` given what stands before each."""
        raise self.lacking("score")

    def logits(self, tokens: Sequence[int]) -> Any:
        """The model's logits after each of ``tokens``, which stand at the start of a sequence.

        A numpy array of float32, shaped (len(tokens), vocabulary_size). Leaves the sequence that
        is being generated in no defined state: :meth:`reset` follows.
        """
        raise self.lacking("logits")

    def encode(self, tokens: Sequence[int]) -> Sequence[float]:
        """An embedding of the token sequence."""
        raise self.lacking("encode")

    def train_step(self, tokens: Sequence[int]) -> float:
        """One optimiser step on the sequence; returns the loss in nats per token."""
        raise self.lacking("train_step")

    def reset(self) -> None:
        """Forget the sequence (empty the KV cache), keep what is loaded and compiled."""
        raise self.lacking("reset")

    def synchronize(self) -> None:
        """Wait until the device has finished what was submitted; nothing on a CPU."""
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
        """What one decoded token has to move and to compute, counted from the loaded tensors."""
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

    def facts(self) -> Mapping[str, Scalar]:
        """What the session really uses (dtype, kernels, threads), for the cell's record.

        ``dtype`` is the number type that the weights are held and computed with. A cell without
        technique whose fact is ``float32`` is held to the reference of the agreement check.
        """
        return {}

    def process_id(self) -> int | None:
        """The process that runs the model, where the session only speaks to it; else ``None``.

        Its memory and CPU time are then the cell's. It must have been started by this session,
        in the same process group, and live as long as the session.
        """
        return None

    def close(self) -> None:
        """Free what the session holds."""
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
    capabilities: ClassVar[frozenset[str]]

    @abstractmethod
    def devices(self) -> tuple[Device, ...]:
        """Devices of this machine that the backend can use. Imports nothing heavy."""

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Why this model (its ``config.json``) cannot run with these settings, or ``None``."""
        return None

    def formats(self, settings: Settings) -> tuple[str, ...]:
        """Artifact formats that :meth:`open` takes with these settings, best first."""
        return self.accepts

    def abilities(self, settings: Settings) -> frozenset[str]:
        """Capabilities that a session with these settings has."""
        return self.capabilities

    def conversion_settings(self, settings: Settings) -> Settings:
        """Values for options of the converters that lead to this backend's artifact.

        A converter takes those that it has an option of that name for (such as ``dtype``).
        """
        return {}

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """Environment variables that the worker needs before the runtime is imported."""
        return {}

    @abstractmethod
    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Load the model. Called once in a fresh worker process."""


# ---------------------------------------------------------------------------------------------
# Workloads


@dataclass(frozen=True, slots=True)
class Request:
    """One unit of repeated work: token ids in, and how many tokens to write.

    ``index`` is its position in the workload's list; ``text`` is the user's prompt, kept for
    the record (``None`` for generated token ids).
    """

    index: int
    tokens: tuple[int, ...] = ()
    new_tokens: int = 0
    text: str | None = None


@dataclass(slots=True)
class Outcome:
    """What one request did. ``values`` are further figures (``nll_nats`` of a score)."""

    prefill_tokens: int = 0
    decode_tokens: int = 0
    units: float = 0.0
    output: list[int] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)


class Recorder(Protocol):
    """Takes time stamps inside a request; energy counters are read at phase edges."""

    def phase(self, name: str) -> None:
        """End the running phase and begin ``name`` (``prefill``, ``decode``, …)."""

    def token(self) -> None:
        """Stamp a token that has just become known."""


@dataclass(frozen=True)
class WorkloadContext:
    """What a workload may use to make its requests, in the worker.

    ``tokenize(text, chat)`` gives token ids (``None`` when the model has no tokenizer);
    ``chat`` applies the model's own template where it has one.
    """

    seed: int
    vocabulary_size: int | None
    context_length: int | None
    tokenize: Callable[[str, bool], list[int]] | None
    eos_tokens: frozenset[int] = frozenset()
    #: Whether a list of prompts is put in an order drawn by the seed; else it keeps its own.
    shuffle: bool = True


class Workload(Plugin):
    """What is done in a block, and its unit of work."""

    #: The unit that results are given per: token, sequence, step, byte, operation, call, second.
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

    def tokens_needed(self, settings: Settings) -> int:
        """The longest sequence (prompt and answer) that a request is sure to need; 0 if unknown."""
        return 0

    @abstractmethod
    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """The list that blocks walk through, in order and again from the start."""

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Bring the session to where the request begins, outside of the measured window."""
        return

    @abstractmethod
    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """Do one request. No other work than the measured belongs here."""

    def quality(self, totals: Mapping[str, float]) -> Mapping[str, Scalar]:
        """Quality figures from the sums of ``Outcome.values`` over all requests, if any."""
        return {}


# ---------------------------------------------------------------------------------------------
# Probes


@dataclass(frozen=True, slots=True)
class FileSource:
    """A number in a file that the kernel keeps current, read with one ``pread``.

    Without ``key``, ``columns`` index the whitespace-separated fields of the whole text; with
    ``key``, of the first line that starts with it (the key itself is field 0). Several columns
    are summed. ``after`` drops everything up to the last occurrence of that string first
    (``")"`` for /proc/PID/stat). Numbers may be hexadecimal (0x…). ``{pid}`` in the path stands
    for the worker's process id.
    """

    path: str
    key: str | None = None
    columns: tuple[int, ...] = (0,)
    after: str | None = None


@dataclass(frozen=True, slots=True)
class ReaderSource:
    """A number that takes code to read, in a module that the sampler process imports.

    ``factory`` is ``"package.module:function"``; called with ``argument`` it returns an object
    whose ``read()`` gives a sequence of ``int | None``, of which this channel is number ``item``.
    Channels with equal factory and argument share one object and one call. The module must be
    cheap to import and import no model runtime. ``{pid}`` in the argument stands for the
    worker's process id.
    """

    factory: str
    argument: str
    item: int = 0


@dataclass(frozen=True, slots=True)
class Channel:
    """One thing that a probe can read. ``raw`` integers times ``scale`` give ``unit``.

    Units by quantity: energy J, power W, temperature degC, memory bytes, frequency Hz,
    cpu_time s, throttle count (a counter of events or a bit mask that is 0 when unthrottled),
    utilization 1.
    """

    #: Unique path, its first part the probe's name: ``rapl/package-0``.
    path: str
    quantity: Quantity
    unit: str
    kind: Literal["counter", "gauge"]
    source: FileSource | ReaderSource
    #: Value in ``unit`` of one raw count.
    scale: float
    provenance: Provenance
    #: What the figure covers: ``package-0``, ``dram-0``, ``gpu-0``, ``machine``, ``process``.
    domain: str
    #: Whether it enters the machine's total; false for what lies inside or around another.
    counted: bool = True
    #: Samples a second by the sampler.
    rate_hz: float = 10.0
    #: Time between changes of the source, where known before it is measured.
    update_period_s: float | None = None
    #: Smallest step of the value, in ``unit``.
    resolution: float | None = None
    #: Raw value at which a counter starts again from 0 (its range), from the device.
    wraps_at: int | None = None
    #: Relative standard uncertainty of the scale itself (an uncalibrated sensor, a model).
    relative_uncertainty: float = 0.0
    #: What the reader of a report must know (averaging of the sensor, …).
    note: str = ""


class Probe(Plugin):
    """A source of channels: energy, power, temperature, memory, frequency.

    ``inspect`` and ``channels`` take the probe's settings from the profile
    (``[probe.NAME]``), completed with defaults.
    """

    @abstractmethod
    def inspect(self, settings: Settings) -> Availability:
        """Whether the sensor can be read here; if not, the reason and the cure."""

    @abstractmethod
    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """The channels that can be read here now. Called only where ``inspect`` says yes."""


# ---------------------------------------------------------------------------------------------
# Reports


class Renderer(Plugin):
    """Turns a session into something to read."""

    #: File suffix of its output, such as ``.html``; empty for the terminal.
    suffix: ClassVar[str] = ""
    #: Whether a run ends with it: printed without a suffix, else written into the session.
    by_default: ClassVar[bool] = False

    @abstractmethod
    def render(self, session: Session, settings: Settings) -> str | bytes:
        """The report's content. Text from prompts, models and plugins must come out inert."""

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str | bytes:
        """One report of several sessions, whose provenances never share a ranking.

        A renderer that does not implement it takes one session alone.
        """
        from joulebench.errors import UnavailableError

        raise UnavailableError(
            f"the '{self.name}' report is of one session, not of {len(sessions)}", hint="name one session"
        )


@dataclass(frozen=True, slots=True)
class FinishedCell:
    """What an observer of :func:`joulebench_cell_finished` is told."""

    session: Path
    cell_id: str
    status: Literal["ok", "failed", "skipped"]
    cause: str | None
