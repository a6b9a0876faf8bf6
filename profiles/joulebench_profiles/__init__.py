"""Shipped profiles, prompts, texts and the model catalogue."""

from __future__ import annotations

from pathlib import Path

from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_profile_dirs() -> list[Path]:
    """This folder."""
    return [Path(__file__).parent]
