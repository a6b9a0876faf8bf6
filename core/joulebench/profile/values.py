"""Checks values against declared options: types, ranges, choices, names, with good errors."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.api import Option, OptionValue, Settings
from joulebench.errors import ProfileError, unknown_name_hint

_BYTES: Final = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(B|kB|KB|KiB|MB|MiB|GB|GiB|TB|TiB)?\s*")
_SIZES: Final[dict[str | None, float]] = {
    None: 1,
    "B": 1,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_TYPE_WORDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "file": "a path, builtin:NAME or catalogue:NAME",
    "share": 'a share such as "2%" or 0.02',
    "bytes": 'a size such as "4GiB" or a number of bytes',
    "command": 'a list of words such as ["./program", "--fast"]',
}


def parse_share(value: object) -> float | None:
    """``"2%"`` or ``0.02`` as a float; ``None`` if it is neither."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return _as_float(float(value.strip()[:-1]) / 100)
        except ValueError:
            return None
    return _as_float(value)


def parse_bytes(value: object) -> int | None:
    """``"4GiB"`` or a number as bytes; ``None`` if it is neither."""
    if (number := _as_float(value)) is not None:
        return int(number)
    if isinstance(value, str) and (match := _BYTES.fullmatch(value)):
        return int(float(match[1]) * _SIZES[match[2]])
    return None


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _as_int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_float(value: object) -> float | None:
    """A finite number; TOML's nan and inf are none that anything could be set to."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _as_bool(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def parse_command(value: object) -> str | None:
    """A list of words (or one text that a shell would cut into words) as one text."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        return None
    return shlex.join(words) if words[0] else None


#: Texts that are looked for by their name, not by a path.
ELSEWHERE: Final = ("builtin:", "catalogue:")


def anchored(options: Sequence[Option], values: Settings, folder: Path) -> dict[str, OptionValue]:
    """The values, files and programs of commands made absolute: they are relative to ``folder``.

    A program without a slash is looked for where the system looks for programs.
    """
    result = dict(values)
    for option in options:
        value = result.get(option.name)
        if option.type == "command" and isinstance(value, str):
            program, *rest = shlex.split(value)
            if "/" in program:
                result[option.name] = shlex.join([str((folder / program).absolute()), *rest])
        elif option.type == "file" and isinstance(value, str) and not value.startswith(ELSEWHERE):
            result[option.name] = str((folder / value).absolute())
    return result


_PARSERS: Final[dict[str, Callable[[object], OptionValue | None]]] = {
    "str": _as_text,
    "file": _as_text,
    "int": _as_int,
    "float": _as_float,
    "bool": _as_bool,
    "share": parse_share,
    "bytes": parse_bytes,
    "command": parse_command,
}


def check_value(option: Option, value: object, where: str) -> OptionValue:
    """The value as the option's type, or a :class:`ProfileError` that says what was wrong."""
    parsed = _PARSERS[option.type](value)
    if parsed is None:
        raise ProfileError(f"must be {_TYPE_WORDS[option.type]}, not {value!r}", where=where)
    if option.choices and parsed not in option.choices:
        listed = ", ".join(str(choice) for choice in option.choices)
        hint = unknown_name_hint(str(parsed), [str(choice) for choice in option.choices])
        raise ProfileError(f"{parsed!r} is not one of: {listed}", where=where, hint=hint)
    if isinstance(parsed, (int, float)) and not isinstance(parsed, bool):
        if option.minimum is not None and parsed < option.minimum:
            raise ProfileError(f"{value} is below the minimum, {option.minimum:g}", where=where)
        if option.maximum is not None and parsed > option.maximum:
            raise ProfileError(f"{value} is above the maximum, {option.maximum:g}", where=where)
    return parsed


def complete(
    options: Sequence[Option], given: Mapping[str, Any], where: Callable[[str], str]
) -> dict[str, OptionValue]:
    """All options with values: the given ones checked, the rest by default (unset left out)."""
    known = {option.name: option for option in options}
    for name in given:
        if name not in known:
            raise ProfileError(f"unknown key '{name}'", where=where(name), hint=unknown_name_hint(name, known))
    values: dict[str, OptionValue] = {}
    for name, option in known.items():
        if name in given:
            values[name] = check_value(option, given[name], where(name))
        elif option.default is not None:
            values[name] = option.default
    return values


def readable_file(path: Path, where: str) -> Path:
    """The path if it is a readable file, else a :class:`ProfileError`. A pipe or device is none."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ProfileError(f"'{path}' is a pipe or a device, no file", where=where)
        with path.open("rb"):
            return path
    except OSError as error:
        raise ProfileError(f"cannot read '{path}': {error.strerror}", where=where) from None
