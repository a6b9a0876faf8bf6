"""A baseline on disk: what a later run is compared with, without the session it came from.

The file is small, made to be committed beside code, and read strictly: an unknown key, a wrong
type or a number that is none is an error, since a gate that reads half of its baseline guards
nothing.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.api import PROVENANCES
from joulebench.errors import SessionError
from joulebench_reports.compare.side import METRICS, Estimate, Side, SideCell
from joulebench_reports.data.jsonformat import Record, finite, record

FORMAT: Final = "joulebench-baseline"
#: Raised when a reader of the old file would misread the new one.
FORMAT_VERSION: Final = 1
#: A baseline of 500 cells has about 1 MB.
_MOST_BYTES: Final = 64 * 2**20


def save_baseline(side: Side, file: Path) -> None:
    """Write the figures of a run, so that the name never stands for half a file.

    Raises :class:`SessionError` where nothing could be compared with it, or it cannot be written.
    """
    if not any(cell.estimates for cell in side.cells):
        raise SessionError("no cell has figures to keep", where=side.session_id)
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(side)}
    text = json.dumps(finite(document), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SessionError(f"cannot be written: {error.strerror}", where=str(file)) from None


def read_baseline(file: Path) -> Side:
    """A stored baseline. Raises :class:`SessionError` for anything but a whole one."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise SessionError("too large for a baseline", where=str(file))
        document = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise SessionError(f"cannot be read: {error.strerror}", where=str(file)) from None
    except (ValueError, RecursionError) as error:
        raise SessionError(
            f"no baseline ({error})",
            where=str(file),
            hint="'joulebench compare SESSION --save-baseline FILE' writes one",
        ) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SessionError(
            "no baseline of joulebench",
            where=str(file),
            hint="'joulebench compare SESSION --save-baseline FILE' writes one",
        )
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise SessionError(
            f"a baseline of format {version!r}; this joulebench reads {FORMAT_VERSION}",
            where=str(file),
            hint="write it anew from its session, or use the joulebench it is of",
        )
    rest = {key: value for key, value in document.items() if key not in ("format", "format_version")}
    side: Side = _Reader(str(file)).read(rest, "side", "")
    return side


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


#: Kind of a value → whether it is one, and what to say where it is none.
_KINDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "text": (lambda value: isinstance(value, str), "text"),
    "scalar": (lambda value: value is None or isinstance(value, (str, bool)) or _is_number(value), "a scalar"),
    "count": (_is_count, "a whole number"),
    "positive": (lambda value: _is_number(value) and value > 0, "a positive number"),
    "number": (lambda value: _is_number(value) and value >= 0, "a number that is not negative"),
    "metric": (lambda value: value in METRICS, f"one of {', '.join(METRICS)}"),
    "provenance": (lambda value: value in PROVENANCES, f"one of {', '.join(PROVENANCES)}"),
}
#: Objects of the file: the class that they become, and the kinds of its fields, as in JSON formats.
_OBJECTS: Final[Mapping[str, tuple[Callable[..., Any], Record]]] = {
    "side": (
        Side,
        record(
            "A run",
            "session_id:text created_at:text? status:text profile_name:text machine:{scalar} state:{scalar}",
            "protocol:{scalar}? versions:{scalar} cells:[cell]",
        ),
    ),
    "cell": (
        SideCell,
        record(
            "A cell of it",
            "label:text identity:{scalar} status:text cause:text? artifact_hash:text? facts:{scalar}",
            "estimates:[estimate] absent:{text}",
        ),
    ),
    "estimate": (
        Estimate,
        record(
            "A figure of the cell",
            "metric:metric unit:text value:positive u:number? df:number? n:count processes:count? low:number?",
            "high:number? provenance:provenance? basis:text scale_u:number?",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads values of their kinds out of a file; every key must be there, and no other."""

    file: str

    def read(self, value: Any, kind: str, path: str) -> Any:
        """The value. Raises :class:`SessionError` with its path where it is none of the kind."""
        if kind.endswith("?"):
            return None if value is None else self.read(value, kind[:-1], path)
        if kind.startswith("["):
            self._check(isinstance(value, list), path, "must be a list")
            return tuple(self.read(item, kind[1:-1], f"{path}[{place}]") for place, item in enumerate(value))
        if kind.startswith("{"):
            self._check(isinstance(value, dict), path, "must be an object")
            return {key: self.read(item, kind[1:-1], f"{path}.{key}") for key, item in value.items()}
        if kind in _OBJECTS:
            return self._object(value, kind, path)
        is_one, what = _KINDS[kind]
        self._check(is_one(value), path, f"must be {what}")
        return float(value) if kind in ("positive", "number") else value

    def _object(self, value: Any, kind: str, path: str) -> Any:
        self._check(isinstance(value, dict), path, "must be an object")
        make, declared = _OBJECTS[kind]
        inside = {key: f"{path}.{key}" if path else key for key in (*declared.fields, *value)}
        for key, place in inside.items():
            self._check(key in value, place, "is missing")
            self._check(key in declared.fields, place, "is not known")
        return make(**{key: self.read(value[key], inner, inside[key]) for key, inner in declared.fields.items()})

    def _check(self, is_right: bool, path: str, fault: str) -> None:
        if not is_right:
            raise SessionError(f"{path or 'the file'} {fault}", where=self.file)
