"""Going on with a session: the legs of a run, and what must be the same in all of them.

A cell's blocks are one sample of one machine. So a leg on another machine, with other versions or
with other sensors is refused, and what every leg found is kept in the session.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from joulebench.errors import SessionError
from joulebench.plan.cells import Plan
from joulebench.runs.machine import Machine
from joulebench.session import Session
from joulebench.session.tables import ChannelRow, ClockTriple, LegRow, ProbeRow, SessionRow
from joulebench.version import __version__

#: What of a channel is declared, not measured anew for each leg.
_DECLARED: Final = ("quantity", "unit", "kind", "scale", "provenance", "domain", "counted", "rate_hz", "wraps_at")
#: The kernel keeps another amount of memory for itself from boot to boot.
_MEMORY_SHARE: Final = 0.01
_HINT: Final = "blocks of both in one cell would be no sample of either: start a new session"


@dataclass(frozen=True, slots=True)
class Leg:
    """A run from its start or from ``--resume``: where, with what and since when it measured."""

    started_at: datetime
    profile_text: str
    overrides: tuple[str, ...]
    protocol_json: str
    machine: Machine
    preflight_json: str
    versions: Mapping[str, str]
    channels: tuple[ChannelRow, ...]
    probes: tuple[ProbeRow, ...]
    clock_start: ClockTriple

    def first_row(self, session_id: str) -> SessionRow:
        """The session's own row with what its first leg found."""
        return SessionRow(
            session_id=session_id,
            status="running",
            created_at=self.started_at,
            joulebench_version=__version__,
            protocol_json=self.protocol_json,
            machine_json=json.dumps(asdict(self.machine)),
            preflight_json=self.preflight_json,
            versions_json=json.dumps(self.versions),
            channels=self.channels,
            probes=self.probes,
            clock_start=self.clock_start,
        )

    def rows(self, earlier: SessionRow | None, *, done: bool) -> tuple[LegRow, ...]:
        """This leg after those of the session that it goes on with, as the session records them."""
        before = () if earlier is None else _legs_of(earlier)
        own = LegRow(
            leg=len(before),
            started_at=self.started_at,
            finished_at=datetime.now(tz=UTC) if done else None,
            joulebench_version=__version__,
            profile_sha256=_profile_sha256(self.profile_text, self.overrides),
            protocol_json=self.protocol_json,
            machine_json=json.dumps(asdict(self.machine)),
            preflight_json=self.preflight_json,
            versions_json=json.dumps(self.versions),
            channels=self.channels,
            probes=self.probes,
            clock_start=self.clock_start,
            clock_end=ClockTriple.now() if done else None,
        )
        return (*before, own)

    def check(self, session: Session) -> None:
        """Refuse to go on with a session of another machine, other versions or other sensors."""
        differences = [
            *_differences("machine", _machine(session.json("machine_json") or {}), _machine(asdict(self.machine))),
            *_differences(
                "version",
                {**(session.json("versions_json") or {}), "joulebench": session.row.joulebench_version},
                {**self.versions, "joulebench": __version__},
            ),
            *_differences("sensor", _declared(session.row.channels or ()), _declared(self.channels)),
        ]
        memory, before = self.machine.memory_bytes, (session.json("machine_json") or {}).get("memory_bytes")
        if memory and before and abs(memory - before) > _MEMORY_SHARE * before:
            differences.append(f"machine: memory_bytes was {before}, is {memory}")
        if differences:
            shown = "; ".join(differences[:3]) + (f"; and {len(differences) - 3} more" if len(differences) > 3 else "")
            raise SessionError(f"cannot be gone on with here: {shown}", where=str(session.path), hint=_HINT)


def _legs_of(session: SessionRow) -> tuple[LegRow, ...]:
    """The legs that a session records; of one from before schema 1.3, its own row is the only one."""
    if session.legs:
        return session.legs
    only = LegRow(
        leg=0,
        started_at=session.created_at,
        finished_at=session.finished_at,
        joulebench_version=session.joulebench_version,
        profile_sha256=_profile_sha256(session.profile_text or "", session.overrides or ()),
        protocol_json=session.protocol_json,
        machine_json=session.machine_json,
        preflight_json=session.preflight_json,
        versions_json=session.versions_json,
        channels=session.channels,
        probes=session.probes,
        clock_start=session.clock_start,
        clock_end=session.clock_end,
    )
    return (only,)


def _profile_sha256(text: str, overrides: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([text, *overrides]).encode()).hexdigest()


def _machine(machine: Mapping[str, Any]) -> dict[str, object]:
    """What tells one machine from another, flat; how much memory it has is compared by size."""
    cpu = machine.get("cpu")
    parts = {f"cpu.{name}": value for name, value in cpu.items()} if isinstance(cpu, dict) else {}
    return parts | {name: value for name, value in machine.items() if name not in ("cpu", "memory_bytes")}


def _declared(channels: Sequence[ChannelRow]) -> dict[str, object]:
    return {channel.channel: tuple(getattr(channel, name) for name in _DECLARED) for channel in channels}


def _differences(what: str, before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    def shown(side: Mapping[str, object], name: str) -> str:
        value = side.get(name)
        return "absent" if name not in side else "other" if isinstance(value, tuple) else str(value)

    return [
        f"{what}: {name} was {shown(before, name)}, is {shown(now, name)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def resume_plan(plan: Plan, session: Session) -> Plan:
    """The plan of a resumed run: the same cells, or an error that says what has changed."""
    before = [cell["id"] for cell in (session.json("plan_json") or {}).get("cells", [])]
    if before != [cell.id for cell in plan.cells]:
        raise SessionError(
            "the profile now gives other cells than when this session began",
            where=str(session.path),
            hint="start a new session: joulebench run PROFILE",
        )
    return plan
