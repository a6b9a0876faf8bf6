"""What a finished session is given to: renderers of reports and observers of cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from joulebench.api.plugin import Plugin
from joulebench.api.values import Settings

if TYPE_CHECKING:
    from joulebench.session import Session


class Renderer(Plugin):
    """Turns a session into a report."""

    #: File suffix of its output, such as ``.html``; empty for the terminal.
    suffix: ClassVar[str] = ""
    #: Whether a run ends with it: printed without a suffix, otherwise written into the session.
    by_default: ClassVar[bool] = False

    @abstractmethod
    def render(self, session: Session, settings: Settings) -> str | bytes:
        """The report's content. Text from prompts, models and plugins must be made inert."""

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str | bytes:
        """One report of several sessions, whose provenances never share a ranking.

        A renderer that does not implement it takes one session alone.
        """
        from joulebench.errors import UnavailableError

        raise UnavailableError(
            f"the '{self.name}' report is of one session, not of {len(sessions)}", hint="name one session"
        )

    def conclusion(self, session: Session, settings: Settings) -> str | None:
        """A few lines at the end of a run, below every report; ``None``: nothing to add."""
        return None


@dataclass(frozen=True, slots=True)
class FinishedCell:
    """What an observer of :func:`joulebench_cell_finished` receives."""

    #: The session's folder.
    session: Path
    #: The cell's id, also the name of its folder.
    cell_id: str
    #: How it ended.
    status: Literal["ok", "failed", "skipped"]
    #: Why it failed or was skipped.
    cause: str | None
