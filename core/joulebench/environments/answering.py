"""What plugins say of themselves in this interpreter: ``python -m joulebench.environments.answering``.

One JSON question on standard input: ``plugins`` (pairs of kind and name) and ``distributions``.
One JSON answer as the last line of standard output: the versions of joulebench and Python, each
plugin's availability, versions, devices and architectures, and the installed ones of the
distributions.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import Any

from joulebench.api import distribution_versions
from joulebench.environments.asking import here
from joulebench.errors import UnknownPluginError
from joulebench.registry.loading import Registry, default_registry
from joulebench.version import __version__


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The answer to a question."""
    registry = default_registry()
    return {
        "joulebench": __version__,
        "python": platform.python_version(),
        "plugins": [_said_by(registry, kind, name) for kind, name in question["plugins"]],
        "versions": distribution_versions(question["distributions"]),
    }


def _said_by(registry: Registry, kind: str, name: str) -> dict[str, Any]:
    try:
        plugin = registry.make(kind, name)
    except UnknownPluginError as error:
        why = "; ".join(filter(None, (error.what, error.hint)))
        return {"ok": False, "reason": why, "cure": None, "versions": {}, "devices": [], "architectures": None}
    place = here(plugin)
    availability = place.availability
    return {
        "ok": availability.ok,
        "reason": availability.reason,
        "cure": availability.cure,
        "versions": {**registry.provider(kind, name), **place.versions},
        "devices": place.devices,
        "architectures": None if place.architectures is None else sorted(place.architectures),
    }


def main() -> None:
    """Keep standard output for the answer alone, and answer."""
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    answer_to.write(json.dumps(answer(json.loads(sys.stdin.read()))) + "\n")
    answer_to.flush()


if __name__ == "__main__":
    main()
