"""The contract of probes: channels that say what they are, and sources that can be read."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, get_args

from joulebench.api import Availability, Channel, FileSource, Probe, Provenance, Quantity, ReaderSource
from joulebench.testing.contracts.base import BrokenContractError, PluginContract, Subject, expect, not_here, subject_of

#: The unit of each quantity.
UNITS: Final = {
    "energy": "J",
    "power": "W",
    "temperature": "degC",
    "memory": "bytes",
    "frequency": "Hz",
    "cpu_time": "s",
    "throttle": "count",
    "utilization": "1",
}
#: A probe that takes longer to answer is left out of a run, in seconds.
_ANSWER_S: Final = 20.0
_SAMPLED_S: Final = 0.4
_RATE_HZ: Final = 50.0


class ProbeContract(PluginContract):
    """The promises of a probe. Without its sensor, tests that need one are skipped."""

    kind = "probe"

    def test_it_says_whether_it_can_be_read_and_why_not(self, plugin: Any) -> None:
        """``inspect`` gives an Availability in time; a no has a reason."""
        subject = subject_of(plugin)
        start = time.monotonic()
        availability: object = subject.plugin.inspect(subject.complete_settings())
        spent_s = time.monotonic() - start
        expect(
            isinstance(availability, Availability),
            f"inspect() gave {availability!r}",
            "return Availability.yes() or Availability.no(reason, cure)",
        )
        assert isinstance(availability, Availability)  # noqa: S101
        expect(
            availability.ok or bool(availability.reason),
            "it cannot be read and does not say why",
            "Availability.no(reason, cure): say what is missing and what would change that",
        )
        expect(
            spent_s < _ANSWER_S / 4,
            f"inspect() took {spent_s:.1f} s",
            f"answer at once; after {_ANSWER_S:g} s a run goes on without the probe",
        )

    def test_its_channels_say_what_they_are(self, plugin: Any) -> None:
        """Paths of its own, the quantity's unit, a scale, a provenance, a rate."""
        subject = subject_of(plugin)
        channels = _channels(subject)
        paths = [channel.path for channel in channels]
        expect(len(set(paths)) == len(paths), f"its channels are {paths}", "call each its own name")
        for channel in channels:
            _expect_declared(channel, subject.plugin.name)

    def test_its_channels_can_be_read(self, plugin: Any) -> None:
        """Each gives a whole number, as the edges of a window are read."""
        channels = _channels(subject_of(plugin))
        for channel, raw in zip(channels, _read(channels), strict=True):
            expect(
                type(raw) is int,
                f"{channel.path} reads {raw!r}",
                "its source must give a number now: channels() names only what can be read",
            )

    def test_its_counters_go_forward(self, plugin: Any) -> None:
        """A counter never falls, except where it wraps; its wrap is declared."""
        channels = [channel for channel in _channels(subject_of(plugin)) if channel.kind == "counter"]
        if not channels:
            not_here("it has no counter")
        from joulebench.meter.live.channels import source_spec
        from joulebench.meter.live.sampler import edge_reader

        read = edge_reader([source_spec(place, channel.source, os.getpid()) for place, channel in enumerate(channels)])
        before = read()
        for _ in range(20):
            time.sleep(0.005)
            now = read()
            for channel, old, new in zip(channels, before, now, strict=True):
                expect(
                    old is None or new is None or not fell(channel, old, new),
                    f"the counter {channel.path} fell from {old} to {new}",
                    "a counter only grows; state wraps_at where it starts again, or use a gauge",
                )
            before = now

    def test_the_sampler_can_read_it(self, plugin: Any) -> None:
        """Served by the sampler's own process, each channel has samples and no fault."""
        from joulebench.meter.live.sampling import Sampler

        channels = [replace(channel, rate_hz=_RATE_HZ) for channel in _channels(subject_of(plugin))]
        with Sampler(channels, os.getpid()) as sampler:
            time.sleep(_SAMPLED_S)
            drained = sampler.drain()
        seen = set(drained.channel)
        for place, channel in enumerate(channels):
            expect(
                place in seen,
                f"the sampler has no sample of {channel.path}",
                "a reader's module is loaded from its file by a bare interpreter: it may import "
                "what is installed, and must not need the __init__ of its package",
            )


def fell(channel: Channel, before: int, after: int) -> bool:
    """Whether a counter went back and did not wrap: near the top of its range, then near 0."""
    if after >= before:
        return False
    wraps_at = channel.wraps_at
    return wraps_at is None or before < 0.9 * wraps_at or after > 0.1 * wraps_at


def _expect_declared(channel: Channel, name: str) -> None:
    path = channel.path
    expect(
        path.startswith(f"{name}/") and len(path) > len(name) + 1,
        f"a channel is called {path!r}",
        f"begin with the probe's name: '{name}/…'",
    )
    expect(
        channel.quantity in get_args(Quantity) and UNITS.get(channel.quantity, channel.unit) == channel.unit,
        f"{path}: {channel.quantity} in {channel.unit!r}",
        f"units by quantity: {UNITS}; the scale turns a raw count into it",
    )
    expect(channel.kind in ("counter", "gauge"), f"{path} is a {channel.kind!r}", "counter or gauge")
    expect(
        math.isfinite(channel.scale) and channel.scale > 0,
        f"{path}: the scale is {channel.scale!r}",
        "give the value of one raw count in the channel's unit (1e-6 for µJ)",
    )
    expect(
        channel.provenance in get_args(Provenance),
        f"{path}: the provenance is {channel.provenance!r}",
        "measured, estimated or simulated; provenance_of_file(path) says it of a file",
    )
    expect(0 < channel.rate_hz <= 1000, f"{path}: rate_hz is {channel.rate_hz!r}", "10 a second will do")
    expect(
        isinstance(channel.source, (FileSource, ReaderSource)),
        f"{path}: the source is {channel.source!r}",
        "a FileSource, or a ReaderSource where it takes code to read it",
    )
    expect(bool(channel.domain), f"{path} has no domain", "say what it covers: 'package-0', 'machine'")


def _channels(subject: Subject[Probe]) -> Sequence[Channel]:
    """The channels, or a skip where the sensor is not here."""
    settings = subject.complete_settings()
    availability = subject.plugin.inspect(settings)
    if not availability.ok:
        not_here(f"it cannot be read here: {availability.reason}")
    channels: object = subject.plugin.channels(settings)
    if not isinstance(channels, (tuple, list)) or not channels:
        raise BrokenContractError(
            f"inspect() says yes and channels() gave {channels!r}",
            "return a tuple of Channel; where none can be read, inspect() says no",
        )
    expect(
        all(isinstance(channel, Channel) for channel in channels),
        f"channels() gave {channels!r}",
        "return a tuple of Channel",
    )
    return channels


def _read(channels: Sequence[Channel]) -> list[int | None]:
    """All channels now, those of a worker from this process."""
    from joulebench.meter.live.channels import source_spec
    from joulebench.meter.live.sampler import edge_reader

    specs = [source_spec(place, channel.source, os.getpid()) for place, channel in enumerate(channels)]
    return edge_reader(specs)()
