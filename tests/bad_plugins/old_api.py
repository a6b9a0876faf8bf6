"""Was written for a plugin API that is no more."""

from __future__ import annotations

JOULEBENCH_API = 0


def joulebench_get_backends() -> list[str]:
    return ["old"]
