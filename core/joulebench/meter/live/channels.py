"""Channels as the sampler and the window edges need them: plain JSON values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from joulebench.api import Channel, FileSource, ReaderSource

if TYPE_CHECKING:
    from joulebench.meter.live.sampler import GroupSpec, SourceSpec

PID_FIELD = "{pid}"


def of_process(channel: Channel) -> bool:
    """Whether the channel reads something of the worker and so needs its process id."""
    source = channel.source
    text = source.path if isinstance(source, FileSource) else source.argument
    return PID_FIELD in text


def has_one_reader(channel: Channel) -> bool:
    """Whether one process alone may open the channel's source: a plugin's reader, unless it says otherwise."""
    return isinstance(channel.source, ReaderSource) and not channel.source.concurrent


def of_machine(channel: Channel) -> bool:
    """Whether one reader serves a whole run: it is one of a kind and of no process."""
    return has_one_reader(channel) and not of_process(channel)


def source_spec(index: int, source: FileSource | ReaderSource, pid: int | str | None) -> SourceSpec:
    """The source as a JSON value for :mod:`joulebench.meter.live.sampler`.

    :data:`PID_FIELD` in place of a process id leaves it to be filled in.
    """
    own = "" if pid is None else str(pid)
    if isinstance(source, FileSource):
        return {
            "channel": index,
            "path": source.path.replace(PID_FIELD, own),
            "key": source.key,
            "columns": list(source.columns),
            "after": source.after,
        }
    return {
        "channel": index,
        "factory": source.factory,
        "argument": source.argument.replace(PID_FIELD, own),
        "item": source.item,
    }


def sampling_groups(
    channels: Sequence[Channel], pid: int | None, only: Collection[int] | None = None
) -> list[GroupSpec]:
    """Sources by sampling period, the fastest first; of the channels with the indices ``only``, or all.

    Without a process (an idle window), channels in files of the worker are left out; readers get
    an empty process id and know what that means. The channels of one reader are read together, as
    often as the fastest of them.
    """
    by_period: dict[int, list[SourceSpec]] = {}
    fastest_hz: dict[tuple[str, str], float] = {}
    for channel in channels:
        if isinstance(source := channel.source, ReaderSource):
            reader = (source.factory, source.argument)
            fastest_hz[reader] = max(channel.rate_hz, fastest_hz.get(reader, 0.0))
    for index, channel in enumerate(channels):
        source = channel.source
        if only is not None and index not in only:
            continue
        if pid is None and of_process(channel) and isinstance(source, FileSource):
            continue
        rate_hz = channel.rate_hz
        if isinstance(source, ReaderSource):
            rate_hz = fastest_hz[source.factory, source.argument]
        by_period.setdefault(round(1e9 / rate_hz), []).append(source_spec(index, source, pid))
    return [{"period_ns": period_ns, "sources": by_period[period_ns]} for period_ns in sorted(by_period)]


def edge_channels(channels: Sequence[Channel]) -> list[int]:
    """Indices of the channels that are read at window edges: energy counters that any process may read."""
    return [
        index
        for index, channel in enumerate(channels)
        if (channel.quantity, channel.kind) == ("energy", "counter") and not has_one_reader(channel)
    ]


def edge_specs(channels: Sequence[Channel], pid: int | str | None) -> list[SourceSpec]:
    """Sources of the energy counters, for :func:`joulebench.meter.live.sampler.edge_reader`."""
    return [source_spec(index, channels[index].source, pid) for index in edge_channels(channels)]


def with_rates(channels: Sequence[Channel], energy_hz: float | None, slow_hz: float | None) -> list[Channel]:
    """The channels with the sampling rates of the profile, where it sets any."""
    result: list[Channel] = []
    for channel in channels:
        rate_hz = energy_hz if channel.quantity in ("energy", "power") else slow_hz
        result.append(channel if rate_hz is None else replace(channel, rate_hz=rate_hz))
    return result
