"""``joulebench.load`` and ``joulebench.run``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from joulebench.errors import JoulebenchError
from joulebench.runs.starting import Progress, run_profile
from joulebench.session.places import open_sessions
from joulebench_reports.library.result import Result


def load(*places: str | Path) -> Result:
    """The result of sessions on disk or at an address, finished or not.

    A place is a session's folder, a folder of many, a pattern (``"sessions/*-quick"``) or an
    address such as ``s3://…``. Raises :class:`~joulebench.errors.SessionError` where none is there
    or one that is named itself cannot be read.
    """
    if not places:
        raise JoulebenchError("name at least one session")
    return Result(open_sessions([str(place) for place in places], lambda text: None))


def run(
    profile: str | Path,
    set: Mapping[str, object] | Sequence[str] = (),
    *,
    out: str | Path = "sessions",
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Measure a profile (a shipped name or a TOML file) and return what was found.

    ``set`` overrides values of the profile: ``{"protocol.max_blocks": 20}`` or
    ``["protocol.max_blocks=20"]``. The session is written under ``out``, as by ``joulebench run``.
    ``progress`` is called with each :class:`~joulebench.runs.starting.Progress`. Raises
    :class:`~joulebench.errors.JoulebenchError` for a profile that cannot run and where no cell
    could be measured. Measuring takes minutes, and wants the machine to itself: a notebook's own
    kernel should be idle.
    """
    overrides = [f"{key}={_toml(value)}" for key, value in set.items()] if isinstance(set, Mapping) else list(set)
    folder = run_profile(str(profile), overrides, Path(out), progress)
    return load(folder)


def _toml(value: object) -> str:
    """A value of Python as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    raise JoulebenchError(f"'{value}' of type {type(value).__name__} is not a value of a profile", where="set")
