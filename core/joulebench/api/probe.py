"""What can be read of a machine: channels, their sources, and the probes that offer them."""

from __future__ import annotations

import datetime
import math
import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from joulebench.api.availability import Availability
from joulebench.api.plugin import Plugin
from joulebench.api.values import Provenance, Quantity, Settings

#: File systems whose files the kernel makes up as they are read.
_KERNEL_FILES = frozenset({"sysfs", "proc", "cgroup2", "debugfs"})


def provenance_of_file(path: Path) -> Provenance:
    """``measured`` where the kernel serves the file (sysfs, proc), ``simulated`` elsewhere.

    A sensor's tree on a disk is an imitation (a test's, a demonstration's): what
    is read there must never be taken for a measurement.
    """
    try:
        device = path.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "simulated"
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        # proc(5): id, parent, major:minor, root, mount point, options, …, "-", type, source, …
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == number:
            return "measured" if rest.split()[0] in _KERNEL_FILES else "simulated"
    return "simulated"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A number in a file that the kernel keeps up to date, read with one ``pread``.

    Without ``key``, ``columns`` index the whitespace-separated fields of the whole text; with
    ``key``, of the first line that starts with it (the key itself is field 0). Several columns
    are summed. ``after`` drops everything up to the last occurrence of that string first
    (``")"`` for /proc/PID/stat). Numbers may be hexadecimal (0x…). ``{pid}`` in the path stands
    for the worker's process id.
    """

    #: The file.
    path: str
    #: Start of the line to read; the whole text when not set.
    key: str | None = None
    #: Fields that are summed.
    columns: tuple[int, ...] = (0,)
    #: Text up to whose last occurrence everything is dropped.
    after: str | None = None


@dataclass(frozen=True, slots=True)
class ReaderSource:
    """A number that takes code to read, in a module that the sampler process imports.

    ``factory`` is ``"package.module:function"``; called with ``argument`` it returns an object
    whose ``read()`` gives a sequence of ``int | None``, of which this channel is number ``item``.
    In place of a number there may be a pair ``(number, t_ns)`` of it and the moment of which it
    tells, by ``time.perf_counter_ns()``. Channels with equal factory and argument share one object
    and one call. The module must be cheap to import and import no model runtime. ``{pid}`` in the
    argument stands for the worker's process id.

    One process at a time opens it, the sampler's. An energy counter then has at a window's edge the
    number that was read last before. ``concurrent`` says that readers in several processes see one
    and the same counter, because the kernel or a driver keeps it: the measured process then opens
    one of its own and reads it at the very edges.
    """

    #: ``package.module:function``, which makes the reader.
    factory: str
    #: What the factory is called with.
    argument: str
    #: Which of the reader's numbers is this channel.
    item: int = 0
    #: Whether readers in several processes see one counter.
    concurrent: bool = False


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far a meter may be off, by its data sheet or its calibration.

    Limits are shares (0.01 is ±1 %), half-widths of rectangular distributions (GUM 4.3.7): ``of_reading`` errs on
    the scale, ``of_range`` is an offset of that share of the full scale ``range_w``, in W. ``gain`` is the
    factor that a calibration found and that the channel's ``scale`` contains, ``calibrated_on`` its day
    (``2026-03-01``). Raises ``ValueError`` where that makes no sense.
    """

    #: Limit as a share of the reading.
    of_reading: float = 0.0
    #: Limit as a share of the full scale.
    of_range: float = 0.0
    #: The full scale, in W. A gauge that stands there is flagged: the power may be more.
    range_w: float | None = None
    #: Factor of the calibration, contained in the channel's ``scale``.
    gain: float | None = None
    #: Day of the calibration (``2026-03-01``).
    calibrated_on: str = ""

    def __post_init__(self) -> None:
        shares = (self.of_reading, self.of_range)
        if not all(0 <= share < 1 for share in shares) or not any(shares):
            raise ValueError(f"an accuracy of ±{shares} is none: shares of 1, such as 0.005 for 0.5 %")
        if self.of_range and not (self.range_w or 0.0) > 0:
            raise ValueError("an accuracy of the range needs range_w, the full scale in W")
        if self.calibrated_on:
            datetime.date.fromisoformat(self.calibrated_on)

    @property
    def relative_u(self) -> float:
        """Relative standard uncertainty of the scale."""
        return self.of_reading / math.sqrt(3)

    @property
    def offset_u_w(self) -> float:
        """Standard uncertainty of the offset, in W."""
        return self.of_range * (self.range_w or 0.0) / math.sqrt(3)

    def __str__(self) -> str:
        limits = [f"{100 * self.of_reading:.3g} % of reading"] if self.of_reading else []
        limits += [f"{100 * self.of_range:.3g} % of {self.range_w:g} W"] if self.of_range else []
        gain = "" if self.gain is None else f", gain {self.gain:g}"
        when = f", calibrated on {self.calibrated_on}" if self.calibrated_on else ""
        return f"accuracy ±({' + '.join(limits)}){gain}{when}"


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity that a probe can read. ``raw`` integers times ``scale`` give ``unit``.

    Units by quantity: energy J, power W, temperature degC, memory bytes, frequency Hz,
    cpu_time s, throttle count (a counter of events or a bit mask that is 0 when unthrottled),
    utilization 1.
    """

    #: Unique path, its first part the probe's name: ``PROBE/package-0``.
    path: str
    #: What is read.
    quantity: Quantity
    #: The quantity's unit, as above.
    unit: str
    #: A counter rises; a gauge shows a value now.
    kind: Literal["counter", "gauge"]
    #: Where the number comes from.
    source: FileSource | ReaderSource
    #: Value in ``unit`` of one raw count.
    scale: float
    #: Whether the figures are measured, estimated or simulated.
    provenance: Provenance
    #: What the figure covers: ``package-0``, ``dram-0``, ``gpu-0``, ``machine``, ``process``.
    domain: str
    #: Whether it is part of the machine's total; false for channels inside or around another one.
    counted: bool = True
    #: Samples per second by the sampler.
    rate_hz: float = 10.0
    #: Time between changes of the source, if known before it is measured.
    update_period_s: float | None = None
    #: Smallest step of the value, in ``unit``.
    resolution: float | None = None
    #: Raw value at which a counter starts again from 0 (its range), from the device.
    wraps_at: int | None = None
    #: Relative standard uncertainty of the scale itself (an uncalibrated sensor, a model).
    relative_uncertainty: float = 0.0
    #: What readers of a report should know (averaging of the sensor, …).
    note: str = ""
    #: Averaging time of a gauge, in s; ``None`` if unknown.
    averaging_s: float | None = None
    #: Domains that belong into the machine's total beside this one and cannot be read.
    total_lacks: tuple[str, ...] = ()
    #: How far the meter may be off; ``None`` if unknown.
    accuracy: Accuracy | None = None


class Probe(Plugin):
    """A source of channels: energy, power, temperature, memory, frequency.

    ``inspect`` and ``channels`` take the probe's settings from the profile
    (``[probe.NAME]``), completed with defaults.
    """

    @abstractmethod
    def inspect(self, settings: Settings) -> Availability:
        """Whether the sensor can be read here; if not, the reason and the fix."""

    @abstractmethod
    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """The channels that can be read here now. Called only if ``inspect`` says yes."""
