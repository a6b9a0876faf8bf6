"""The values of a summary: plain, frozen, with unit, interval, provenance and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from joulebench.api import Provenance, Scalar
from joulebench_reports.values.agreement import AgreementFigures
from joulebench_reports.values.answers import Answer
from joulebench_reports.values.extrapolations import Extrapolation
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.scalings import Scaling
from joulebench_reports.values.series import DISTURBED, CellSeries
from joulebench_reports.values.techniques import CostTable
from joulebench_reports.values.tokenwork import KernelWork, TokenWork
from joulebench_reports.values.verdicts import VerdictTable


@dataclass(frozen=True, slots=True)
class EnergySummary:
    """A cell's energy of one provenance, summed over the counted channels.

    Figures are per unit of the cell (J/token), or W where the unit is a second.
    ``attributed`` is the worker's share by CPU time: an estimate whatever the sensor was.
    ``scale_relative_uncertainty`` is the standard uncertainty of the sensor's or model's scale;
    it is common to all blocks and so stands beside the interval, not in it.
    """

    provenance: Provenance
    channels: tuple[str, ...]
    methods: tuple[str, ...]
    gross: Figure
    gross_with_scale: Figure
    net: Figure
    attributed: Figure
    mean_of_ratios: Figure
    without_flagged: Figure
    power_w: Figure
    phases: tuple[tuple[str, Figure], ...]
    scale_relative_uncertainty: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Speed:
    """Times and rates of a cell; figures are null where its requests mark no such phase."""

    decode_tok_s: Figure
    prefill_tok_s: Figure
    units_s: Figure
    best_units_s: Figure
    ttft_median_s: Figure
    ttft_p95_s: Figure
    tpot_s: Figure
    block_s: Figure


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the process as the kernel sees it, and the runtime's own account."""

    rss_peak_bytes: int | None = None
    rss_base_bytes: int | None = None
    rss_anon_bytes: int | None = None
    rss_file_bytes: int | None = None
    rss_model_bytes: int | None = None
    pss_bytes: int | None = None
    device_peak_bytes: int | None = None
    weights_bytes: int | None = None
    kv_allocated_bytes: int | None = None
    kv_used_bytes: int | None = None
    workspace_bytes: int | None = None
    artifact_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class QualityFigures:
    """Quality of the cell's model, as far as it was scored."""

    perplexity: float | None = None
    nll_nats_per_token: float | None = None
    tokens: int | None = None
    text: str | None = None
    others: tuple[tuple[str, Scalar], ...] = ()
    #: Negative log-likelihood in nats, and tokens, of each window of the text.
    windows: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SamplerCost:
    """What measuring cost: the sampler's CPU time over its wall time, and its lateness."""

    cpu_share: float | None = None
    ticks: int | None = None
    missed: int | None = None
    rate_hz: float | None = None
    late_p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class FlagCount:
    """A flag of a cell; ``blocks`` counts the blocks that carry it (``None``: the whole cell)."""

    flag: str
    blocks: int | None


@dataclass(frozen=True, slots=True)
class CellSummary:
    """Everything a report says of one cell.

    ``status`` is ok, failed, skipped, unfinished (no final record yet) or not started.
    """

    id: str
    label: str
    model: str
    technique: str
    backend: str
    device: str
    workload: str
    unit: str
    status: str
    cause: str | None
    cause_kind: str | None
    processes: int
    blocks: int
    requests: int
    energy: tuple[EnergySummary, ...]
    headline: Figure
    headline_net: Figure
    speed: Speed
    memory: Memory
    quality: QualityFigures
    agreement: AgreementFigures | None
    temperature_max_c: float | None
    observer: SamplerCost
    flags: tuple[FlagCount, ...]
    evidence: Mapping[str, Scalar]
    facts: Mapping[str, Scalar]
    #: As the session really used them; ``dtype`` is the number type that it computes in.
    threads: int | None
    dtype: str | None
    #: Every setting of the backend, as JSON, by which cells of the same setting are found.
    backend_settings: str
    token: TokenWork
    kernel: KernelWork | None
    #: Shares of what the session's own kernels measured, 1 being all of it.
    mbu: Figure
    mfu: Figure
    #: Whose seconds and joules the cell's are: the host's, or those of a simulated device.
    time_base: str = "host"
    #: What simulating a device took on this machine, in s.
    simulation_s: float | None = None
    #: Numbers of the profile that backend and workload were given, such as threads or a context's length.
    axes: tuple[tuple[str, float], ...] = ()
    #: Units of work of an answer (of a request), where there are both.
    units_per_request: float | None = None
    #: Name of its session where a report is of several.
    session: str = ""
    #: The blocks behind the figures, for comparisons.
    series: CellSeries = field(default_factory=CellSeries, repr=False, compare=False)

    @property
    def simulated(self) -> bool:
        """Whether its time and energy are those of hardware that is not here."""
        return self.time_base == "device"

    @property
    def has_figures(self) -> bool:
        """Whether it is done, or cut off with blocks on disk."""
        return self.status == "ok" or (self.status == "unfinished" and self.blocks > 0)

    @property
    def disturbed_blocks(self) -> int:
        """Blocks that other programs or a lowered clock disturbed, at least: flags are counted apart."""
        return max((flag.blocks or 0 for flag in self.flags if flag.flag in DISTURBED), default=0)

    @property
    def calm(self) -> Figure | None:
        """The headline without disturbed blocks, where that is another figure than with them.

        It is another one where it lies outside of the headline's interval, or, of a headline without
        one, differs by more than a tenth.
        """
        figure = self.headline
        energy = next((e for e in self.energy if e.provenance == figure.provenance), None)
        calm = None if energy is None else energy.without_flagged
        if calm is None or calm.value is None or figure.value is None or calm.n == figure.n:
            return None
        apart = figure.half_width if figure.half_width is not None else 0.1 * abs(figure.value)
        narrower = calm.half_width is not None and figure.half_width is not None and 2 * calm.half_width < apart
        return calm if abs(calm.value - figure.value) > apart or narrower else None

    @property
    def quantization(self) -> str | None:
        """The type that its model file names itself by, such as ``Q4_K_M``; ``None`` for floats."""
        name = self.facts.get("file_type")
        return name if isinstance(name, str) and not name.endswith(("F16", "F32")) else None

    @property
    def rate(self) -> Figure:
        """Units of work a second."""
        return self.speed.units_s

    @property
    def limit(self) -> Figure:
        """What the cell's kernel reaches at its best: the 90 % quantile of its blocks' rates."""
        return self.speed.best_units_s


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """A probe: readable, or why not and what would change that; ``requested`` where the profile names it."""

    probe: str
    available: bool
    reason: str | None
    cure: str | None
    requested: bool = False


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """A channel that was sampled."""

    channel: str
    quantity: str
    unit: str
    kind: str
    provenance: Provenance
    domain: str | None
    counted: bool
    scale: float | None
    wraps_at: int | None
    update_period_s: float | None
    measured_period_s: float | None
    resolution: float | None
    relative_uncertainty: float | None
    offset_u_w: float | None
    note: str | None


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session as reports show it. The JSON-valued fields are as the run recorded them."""

    session_id: str
    status: str
    created_at: str | None
    finished_at: str | None
    profile_name: str
    joulebench_version: str
    seed: int | None
    machine: Mapping[str, object]
    preflight: Mapping[str, object]
    versions: Mapping[str, object]
    probes: tuple[ProbeReport, ...]
    channels: tuple[ChannelReport, ...]
    cells: tuple[CellSummary, ...]
    #: Each cell's energy against the baseline of its model and workload.
    verdicts: tuple[VerdictTable, ...] = ()
    #: What each technique cost and brought on each backend.
    costs: tuple[CostTable, ...] = ()
    #: What to deploy for each model and workload, and how sure that is.
    answers: tuple[Answer, ...] = ()
    #: Whole models by some of their layers: never measured.
    extrapolations: tuple[Extrapolation, ...] = ()
    #: How costs grow with a number of the profile.
    scalings: tuple[Scaling, ...] = ()
    #: Name of the published procedure that the run followed, if it followed one.
    protocol: str | None = None
    #: What was done to the numbers of models on their way to a runtime: label of the model, words.
    model_notes: tuple[tuple[str, str], ...] = ()
    #: The sessions that this is the sum of, where a report is of several.
    parts: tuple[SessionSummary, ...] = ()
    #: What the labels of its cells begin with, as a part.
    name: str = ""

    @property
    def shown(self) -> tuple[CellSummary, ...]:
        """Cells that have figures to show: done, or cut off with blocks on disk."""
        return tuple(cell for cell in self.cells if cell.has_figures)

    @property
    def missing(self) -> tuple[CellSummary, ...]:
        """Cells without figures: failed, skipped, not started, or cut off before a block."""
        return tuple(cell for cell in self.cells if not cell.has_figures)
