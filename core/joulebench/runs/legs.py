"""Idle power around each process of a cell: which baselines stand on either side of its blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from joulebench.api import Channel
from joulebench.meter.idle import IdlePower, combined_idle
from joulebench.sensors.idle import AFTER, BEFORE, IdleBaseline
from joulebench.session.tables import IdleRow


class IdleOfProcesses:
    """The idle baselines of a cell by the process that they surround, in the order of processes."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = channels
        self._places = {channel.path: index for index, channel in enumerate(channels)}
        self._baselines: dict[int, dict[str, IdleBaseline]] = {}

    def add(self, process: int, baseline: IdleBaseline) -> None:
        """A baseline before or after the blocks of a process."""
        self._baselines.setdefault(process, {})[baseline.when] = baseline

    def rows(self) -> tuple[IdleRow, ...]:
        """As the cell's row has them."""
        return tuple(
            IdleRow(
                channel=self._channels[index].path,
                when=side.when,
                t0_ns=side.t0_ns,
                t1_ns=side.t1_ns,
                power_w=idle.power_w,
                power_u_w=idle.u_w,
            )
            for sides in self._baselines.values()
            for side in sides.values()
            for index, idle in side.power.items()
        )

    def before(self, process: int) -> Mapping[int, IdlePower]:
        """Idle power before a process; empty where it was not measured."""
        baseline = self._baselines.get(process, {}).get(BEFORE)
        return {} if baseline is None else baseline.power

    def around(self, process: int) -> dict[str, IdlePower]:
        """Idle power of each channel by its path, from the baselines on both sides of a process.

        One that a run was interrupted in has none after it: the next one of the cell stands in.
        """
        sides = self._baselines.get(process, {})
        later = (leg for number, own in sorted(self._baselines.items()) if number > process for leg in own.values())
        before, after = sides.get(BEFORE), sides.get(AFTER) or next(later, None)
        if before is None or after is None:
            return {}
        return {
            self._channels[index].path: combined_idle(power, after.power[index])
            for index, power in before.power.items()
            if index in after.power
        }

    # -- for a resumed run -------------------------------------------------------------------------

    def to_json(self, process: int, baseline: IdleBaseline) -> str:
        """A baseline as text, to be kept with the cell's events."""
        power = {
            self._channels[i].path: [power_w.power_w, power_w.u_w, power_w.flags]
            for i, power_w in baseline.power.items()
        }
        return json.dumps([process, baseline.when, baseline.t0_ns, baseline.t1_ns, power])

    def add_json(self, text: str) -> None:
        """Add a baseline that an interrupted run has kept; channels that are gone are left out."""
        process, when, t0_ns, t1_ns, power = json.loads(text)
        known = {
            self._places[path]: IdlePower(power_w, u_w, tuple(flags))
            for path, (power_w, u_w, flags) in power.items()
            if path in self._places
        }
        self.add(process, IdleBaseline(when, t0_ns, t1_ns, known))
