"""The values that settings, records and figures are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

#: Plugins state the major version that they were written for as ``JOULEBENCH_API``. The host
#: refuses another major version; additions that break nothing do not change it.
API_VERSION = 1

#: A value that a profile can give to an option.
OptionValue = str | int | float | bool
#: Option values by name, checked and completed with defaults before a plugin sees them.
Settings = Mapping[str, OptionValue]
#: A value in a record of evidence or quality.
Scalar = str | int | float | bool | None

Provenance = Literal["measured", "estimated", "simulated"]
#: All provenances in the order of the trust that they deserve. Sums and rankings never mix them.
PROVENANCES: Final[tuple[Provenance, ...]] = ("measured", "estimated", "simulated")
Quantity = Literal["energy", "power", "temperature", "memory", "frequency", "cpu_time", "throttle", "utilization"]
OptionType = Literal["str", "int", "float", "bool", "file", "share", "bytes", "command"]


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a plugin, as a profile may give it.

    A ``share`` is written ``"2%"`` or ``0.02`` and arrives as a float; ``bytes`` is written
    ``"4GiB"`` or as a number and arrives as an int. ``None`` as default means not set.
    A ``file`` option holds a path (relative to the profile's folder), ``builtin:NAME`` (a text
    in a profile folder) or ``catalogue:NAME`` (a text that is fetched with its hash); the host
    resolves it to an existing path before the plugin sees it.
    A ``command`` is a list of words, the first a program (relative to the profile's folder if it
    holds a slash); it arrives as one text that :func:`shlex.split` takes apart.
    """

    #: Key in a profile.
    name: str
    #: How a profile writes it, and what arrives.
    type: OptionType
    #: Value without the key; ``None``: not set.
    default: OptionValue | None
    #: One line for the documentation and the profiles' schema.
    doc: str
    #: The only values allowed; empty: any.
    choices: tuple[OptionValue, ...] = ()
    #: Smallest value allowed.
    minimum: float | None = None
    #: Largest value allowed.
    maximum: float | None = None
