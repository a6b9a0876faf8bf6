"""Whether something works here, and which versions of what are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether something works here; if not, why, and how to fix it."""

    #: Whether it works here.
    ok: bool
    #: Why it does not.
    reason: str | None = None
    #: How to fix that, such as a command.
    cure: str | None = None

    @classmethod
    def yes(cls) -> Availability:
        """It works here."""
        return cls(True)

    @classmethod
    def no(cls, reason: str, cure: str | None = None) -> Availability:
        """It does not work here, for ``reason``; ``cure`` says what would change that."""
        return cls(False, reason, cure)


def require_modules(modules: Sequence[str], extra: str, distribution: str = "joulebench") -> Availability:
    """Whether ``modules`` can be imported, without importing them.

    The cure names the ``extra`` of ``distribution`` that installs them, where it has that extra; else
    the missing modules themselves.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return Availability.yes()
    listed = ", ".join(missing)
    cure = f"pip install '{distribution}[{extra}]'" if extra in _extras(distribution) else f"install {listed}"
    return Availability.no(f"not installed: {listed}", cure)


def _extras(distribution: str) -> list[str]:
    """The extras that an installed distribution declares; none where it is not installed."""
    import importlib.metadata

    try:
        return importlib.metadata.metadata(distribution).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def distribution_versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions of distributions, by metadata alone; missing ones are left out."""
    import importlib.metadata

    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
