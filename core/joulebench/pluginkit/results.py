"""What a check of a plugin found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "fault", "skipped"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: what was tried, how it ended, and what to do about it.

    ``subject`` is what the check was of (``backend mine``), empty for the whole distribution.
    """

    subject: str
    check: str
    status: Status
    what: str = ""
    advice: str = ""
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndedCheck:
    """How a check ended, as the process that tried it tells the one that watches: a line of JSON with these keys.

    ``end`` is the check's name, ``printed`` the beginning of what the plugin wrote to standard output meanwhile.
    """

    end: str
    status: Status
    seconds: float = 0.0
    printed: str = ""
    what: str = ""
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All results of one entry point."""

    entry_point: str
    distribution: str
    version: str
    results: tuple[CheckResult, ...]

    @property
    def faults(self) -> tuple[CheckResult, ...]:
        """What was found."""
        return tuple(result for result in self.results if result.status == "fault")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "entry_point": self.entry_point,
            "distribution": self.distribution,
            "version": self.version,
            "ok": not self.faults,
            "results": [asdict(result) for result in self.results],
        }
