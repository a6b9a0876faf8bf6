"""The instruments of a run: its sensors, what calibration has measured of them, and whether they will do.

Settled before a session is begun, so that a target that no sensor here can reach is refused
before anything long starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from joulebench.api import Channel
from joulebench.errors import ProfileError
from joulebench.meter.live.calibration import SensorCalibration, calibrated_accountant, shortest_block_s
from joulebench.meter.live.channels import has_one_reader
from joulebench.meter.margins import NO_MARGINS, Margins
from joulebench.meter.windows import Accountant
from joulebench.profile.reading import Profile
from joulebench.registry.loading import Registry
from joulebench.runs.rows import channel_row, probe_row
from joulebench.sensors.calibrations import calibrated
from joulebench.sensors.probing import ProbeChoices, Sensors, inspect_probes, without_frozen
from joulebench.session.tables import ChannelRow, ProbeRow


@dataclass(frozen=True, slots=True)
class Instruments:
    """Sensors with their calibration, by the channel's place."""

    sensors: Sensors
    calibrations: Mapping[int, SensorCalibration]

    @property
    def frozen(self) -> list[int]:
        """Counters that never changed while they were watched."""
        return [
            index
            for index, calibration in self.calibrations.items()
            if calibration.frozen and self.sensors.channels[index].kind == "counter"
        ]

    def accountant(self, margins: Margins = NO_MARGINS) -> Accountant:
        """What turns windows into energies, with the update periods as they were measured."""
        return calibrated_accountant(self.sensors.channels, self.calibrations, margins)

    def channel_rows(self) -> tuple[ChannelRow, ...]:
        """The channels as the session records them."""
        return tuple(
            channel_row(channel, self.calibrations.get(index)) for index, channel in enumerate(self.sensors.channels)
        )

    def probe_rows(self) -> tuple[ProbeRow, ...]:
        """The probes as the session records them."""
        return tuple(probe_row(state) for state in self.sensors.probes)


def set_up(registry: Registry, profile: Profile, say: Callable[[str], None]) -> Instruments:
    """Inspect the probes and calibrate the energy channels; refuse a target out of their reach."""
    sensors = inspect_probes(registry, ProbeChoices.of_profile(profile))
    channels = sensors.channels
    chosen = [i for i, channel in enumerate(channels) if channel.quantity in ("energy", "power")]
    seconds = profile.sampling.calibrate_s
    made = Instruments(sensors, {})
    if chosen and seconds > 0:
        say(f"calibrating {len(chosen)} energy and power channels")
        calibrations = calibrated([channels[index] for index in chosen], seconds)
        made = replace(made, calibrations=dict(zip(chosen, calibrations, strict=True)))
    for index in made.frozen:
        say(f"{channels[index].path}: the counter does not change; its energy is withheld")
    made = replace(made, sensors=without_frozen(sensors, made.frozen))
    _check_target(profile, made)
    return made


def _check_target(profile: Profile, instruments: Instruments) -> None:
    """A block must be long enough for the sensor, or every one of its energies will be null."""
    protocol = profile.measurement
    if protocol.requests_per_block is not None:
        return  # then block_s says nothing of how long a block will be
    block_s, target, blocks = protocol.block_s, protocol.stopping.target, protocol.stopping.max_blocks
    for index, channel in enumerate(instruments.sensors.channels):
        if not (channel.counted and channel.quantity == "energy" and channel.kind == "counter"):
            continue
        period_s = _period_s(channel, instruments.calibrations.get(index))
        needed_s = 0.0 if period_s is None else shortest_block_s(period_s, target, blocks)
        if period_s is not None and needed_s > block_s:
            raise ProfileError(
                f"blocks of {block_s:g} s are too short for {channel.path}, which is updated every "
                f"{period_s * 1e3:.3g} ms: {100 * target:g} % in {blocks} blocks needs "
                f"{needed_s:.3g} s",
                where=profile.where("protocol", "block_s"),
                hint=f"--set protocol.block_s={_rounded_up(needed_s):g}, or another target, or "
                f"[probe.{channel.path.partition('/')[0]}] enabled = false",
            )


def _period_s(channel: Channel, calibration: SensorCalibration | None) -> float | None:
    period_s = channel.update_period_s
    if calibration is not None and calibration.period_high_s is not None:
        period_s = calibration.period_high_s
    held_s = 1 / channel.rate_hz if has_one_reader(channel) else 0.0
    return None if period_s is None else period_s + held_s


def _rounded_up(seconds: float) -> float:
    """Up to two digits, so that the advice holds when it is taken."""
    step = math.pow(10, math.floor(math.log10(seconds)) - 1)
    return math.ceil(seconds / step) * step
