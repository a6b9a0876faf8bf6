"""The one process of a run that opens what only one process may: plugins' readers.

Two readers of a serial line take each other's answers, and a reader that adds up what it sees has another
sum in each process. So a run has one sampler for all of them, which rests while no cell is measured; the
cells' own samplers and the workers leave them alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from joulebench.api import Channel
from joulebench.errors import UnavailableError
from joulebench.meter.live.channels import of_machine, sampling_groups
from joulebench.meter.live.sampling import Drained, ObserverTax, Sampler


class Owner(Protocol):
    """Who reads the channels of these ``indices``, in a process that others may not double."""

    @property
    def indices(self) -> Collection[int]:
        """Whose readers it keeps."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can read."""
        ...

    def resume(self) -> None:
        """Read on, what was read before forgotten; returns when every reader has been read once."""

    def pause(self) -> None:
        """Rest."""

    def drain(self) -> Drained:
        """What has been read since."""
        ...

    def tax(self) -> ObserverTax:
        """What it has cost so far."""
        ...

    def cpu_s(self) -> float:
        """Its CPU time so far; 0 where there is none."""
        ...


class ReaderOwner:
    """Reads the channels of a run whose readers are one of a kind. Use as a context manager."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = channels
        self.indices = frozenset(index for index, channel in enumerate(channels) if of_machine(channel))
        self._sampler: Sampler | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Start the process, or another one where it has ended; it rests until it is needed."""
        if not self.indices or self.alive:
            return
        self.close()
        try:
            self._sampler = Sampler(self._channels, None, only=self.indices)
        except UnavailableError:
            return
        self._sampler.pause()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._sampler is not None and self._sampler.alive

    def resume(self) -> None:
        """Read on, what was read before forgotten; returns when every reader has been read once."""
        if self._sampler is not None:
            self._sampler.drain()
            self._sampler.resume()
            self._sampler.await_tick()

    def pause(self) -> None:
        """Rest."""
        if self._sampler is not None:
            self._sampler.pause()

    def drain(self) -> Drained:
        """What has been read since."""
        return Drained() if self._sampler is None else self._sampler.drain()

    def now(self) -> dict[int, int]:
        """The last reading of each channel, read anew if it rests."""
        self.open()
        self.resume()
        drained = self.drain()
        self.pause()
        return dict(zip(drained.channel, drained.raw, strict=True))

    def tax(self) -> ObserverTax:
        """What it has cost so far."""
        if self._sampler is None:
            return ObserverTax()
        tax = self._sampler.tax()
        return replace(tax, lateness_ns=list(tax.lateness_ns))

    def cpu_s(self) -> float:
        """Its CPU time so far; 0 where there is none."""
        return (0.0 if self._sampler is None else self._sampler.cpu_s()) or 0.0

    def close(self) -> None:
        """End the process."""
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None


class JointSampler:
    """A sampler of its own for most channels, and the owner's readings of the others, as one sampler.

    The owner reads from :meth:`resume` to :meth:`pause`. Raises ``UnavailableError`` as a sampler does.
    """

    def __init__(self, channels: Sequence[Channel], pid: int | None, owner: Owner | None) -> None:
        self._owner = owner if owner is not None and owner.indices else None
        owned = frozenset[int]() if self._owner is None else frozenset(self._owner.indices)
        self._others = frozenset(range(len(channels))) - owned
        alone = owned and not sampling_groups(channels, pid, self._others)
        self._own = None if alone else Sampler(channels, pid, only=self._others)
        self._tax = ObserverTax()
        self._before: ObserverTax | None = None

    def lost(self) -> frozenset[int]:
        """The channels whose process has ended."""
        lost = frozenset[int]()
        if self._own is not None and not self._own.alive:
            lost |= self._others
        if self._owner is not None and not self._owner.alive:
            lost |= frozenset(self._owner.indices)
        return lost

    def resume(self) -> list[tuple[int, int]]:
        """Read on, what was read before forgotten but for faults (t_ns, channel); all is read once."""
        faults = [] if self._own is None else self._own.drain().faults
        if self._owner is not None and self._before is None:
            self._before = self._owner.tax()
            self._owner.resume()
        if self._own is not None:
            self._own.resume()
            self._own.await_tick()
        return faults

    def pause(self) -> None:
        """Rest."""
        if self._own is not None:
            self._own.pause()
        if self._owner is not None and self._before is not None:
            self._owner.pause()
            self._tax.add(self._owner.tax().since(self._before))
            self._before = None

    def drain(self) -> Drained:
        """Take what has been read since the last call."""
        drained = Drained() if self._own is None else self._own.drain()
        if self._owner is not None:
            drained.extend(self._owner.drain())
        return drained

    def cpu_s(self) -> float:
        """CPU time so far."""
        own_s = None if self._own is None else self._own.cpu_s()
        return (own_s or 0.0) + (0.0 if self._owner is None else self._owner.cpu_s())

    def stop(self) -> None:
        """End the own process and let the owner rest; what was written can still be drained."""
        if self._own is not None:
            self._own.stop()
        self.pause()

    def tax(self) -> ObserverTax:
        """What it has cost, once it has stopped."""
        total = ObserverTax()
        for part in (self._tax, None if self._own is None else self._own.tax()):
            if part is not None:
                total.add(part)
        return total
