"""What all plugin classes have, and where their work may be done."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from joulebench.api.availability import Availability
from joulebench.api.values import Option, OptionValue

#: What an environment may be called: its name becomes a part of paths.
ENVIRONMENT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Environment:
    """Packages that a plugin needs and that conflict with those of joulebench.

    ``requirements`` are as ``pip install`` takes them. joulebench itself and the distribution of
    the plugin are installed beside them, from where they were installed here. Plugins that need
    the same may share an environment by declaring equal ones. ``python_least`` and
    ``python_below`` bound the interpreter's version, as (major, minor).

    An environment that ``inherits`` has the packages of joulebench's own interpreter as well, behind
    its own: for a library that needs a large one which is here already, and whose files would
    overwrite those of another. pip fetches only what is missing, joulebench is among what is
    inherited, and the interpreter is joulebench's own.
    """

    #: Name, for ``joulebench env create NAME``.
    name: str
    #: Requirements as ``pip install`` takes them.
    requirements: tuple[str, ...]
    #: Minimum version of the interpreter, as (major, minor).
    python_least: tuple[int, int] | None = None
    #: Version that the interpreter must be below.
    python_below: tuple[int, int] | None = None
    #: Whether the packages of joulebench's own interpreter are there as well.
    inherits: bool = False

    def __post_init__(self) -> None:
        if not ENVIRONMENT_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot be the name of an environment")
        for requirement in self.requirements:
            if not requirement.strip() or requirement.startswith("-"):
                raise ValueError(f"{requirement!r} is not a requirement")

    @property
    def python_range(self) -> str:
        """The versions of the interpreter in words: ``3.11 or newer, older than 3.14``."""
        least = None if self.python_least is None else "{}.{} or newer".format(*self.python_least)
        below = None if self.python_below is None else "older than {}.{}".format(*self.python_below)
        return ", ".join(filter(None, (least, below))) or "of any version"


class Plugin(ABC):
    """What all plugin classes have: a unique name, a one-line summary, and options."""

    #: Name in profiles, unique among plugins of its kind.
    name: ClassVar[str]
    #: One line for ``joulebench plugin list``.
    summary: ClassVar[str] = ""
    #: The settings that a profile may give.
    options: ClassVar[tuple[Option, ...]] = ()
    #: Where a technique, converter or backend does its work, if not in joulebench's own
    #: interpreter. `available`, `versions`, `devices` and `architectures` are then asked there.
    environment_needs: ClassVar[Environment | None] = None

    def available(self) -> Availability:
        """Whether the plugin can work here. Must be quick and import nothing heavy."""
        return Availability.yes()

    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that the results depend on, by distribution name."""
        return {}

    def default_settings(self) -> dict[str, OptionValue]:
        """The options that have a default, with that value."""
        return {option.name: option.default for option in self.options if option.default is not None}
