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
from pathlib import Path
from typing import Any, Final, TypeVar

from joulebench.api import PROVENANCES, Scalar
from joulebench.errors import SessionError
from joulebench_reports.compare.side import METRICS, Estimate, Side, SideCell
from joulebench_reports.data.jsonformat import finite

FORMAT: Final = "joulebench-baseline"
#: Raised when a reader of the old file would misread the new one.
FORMAT_VERSION: Final = 1
#: A baseline of 500 cells has about 1 MB.
_MOST_BYTES: Final = 64 * 2**20

_T = TypeVar("_T")


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
    rest = {k: v for k, v in document.items() if k not in ("format", "format_version")}
    return _side(_Record(rest, str(file), ""))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


class _Record:
    """One object of the file: every key is asked for once, and none may be left over."""

    def __init__(self, value: object, file: str, path: str) -> None:
        self._file = file
        self._path = path
        if not isinstance(value, dict):
            raise self._fault("", "must be an object")
        self._values: dict[str, Any] = dict(value)

    def _fault(self, key: str, what: str) -> SessionError:
        path = ".".join(part for part in (self._path, key) if part) or "the file"
        return SessionError(f"{path} {what}", where=self._file)

    def _take(self, key: str, good: Callable[[Any], bool], kind: str) -> Any:
        if key not in self._values:
            raise self._fault(key, "is missing")
        value = self._values.pop(key)
        if not good(value):
            raise self._fault(key, f"must be {kind}")
        return value

    def text(self, key: str) -> str:
        return str(self._take(key, lambda v: isinstance(v, str), "text"))

    def optional_text(self, key: str) -> str | None:
        kind = "text or null"
        text: str | None = self._take(key, lambda v: v is None or isinstance(v, str), kind)
        return text

    def one_of(self, key: str, names: tuple[Any, ...]) -> Any:
        return self._take(key, lambda v: v in names, f"one of {', '.join(map(str, names))}")

    def positive(self, key: str) -> float:
        return float(self._take(key, lambda v: _is_number(v) and v > 0, "a positive number"))

    def optional_number(self, key: str) -> float | None:
        """A number that is not negative, or null."""
        kind = "a number that is not negative, or null"
        value = self._take(key, lambda v: v is None or (_is_number(v) and v >= 0), kind)
        return None if value is None else float(value)

    def count(self, key: str) -> int:
        return int(self._take(key, _is_count, "a whole number"))

    def optional_count(self, key: str) -> int | None:
        kind = "a whole number or null"
        count: int | None = self._take(key, lambda v: v is None or _is_count(v), kind)
        return count

    def scalars(self, key: str) -> dict[str, Scalar | None]:
        kind = "an object of scalars"
        return dict(self._take(key, _is_scalars, kind))

    def optional_scalars(self, key: str) -> dict[str, Scalar | None] | None:
        if self._values.get(key, 0) is None:
            return self._take(key, lambda v: v is None, "null")  # type: ignore[no-any-return]
        return self.scalars(key)

    def texts(self, key: str) -> dict[str, str]:
        values = self.scalars(key)
        if not all(isinstance(value, str) for value in values.values()):
            raise self._fault(key, "must be an object of texts")
        return {name: str(value) for name, value in values.items()}

    def many(self, key: str, read: Callable[[_Record], _T]) -> tuple[_T, ...]:
        values = self._take(key, lambda v: isinstance(v, list), "a list")
        base = f"{self._path}.{key}" if self._path else key
        return tuple(read(_Record(value, self._file, f"{base}[{place}]")) for place, value in enumerate(values))

    def end(self) -> None:
        for key in self._values:
            raise self._fault(key, "is not known")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_scalars(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        scalar is None or isinstance(scalar, (str, bool)) or _is_number(scalar) for scalar in value.values()
    )


def _side(record: _Record) -> Side:
    side = Side(
        session_id=record.text("session_id"),
        created_at=record.optional_text("created_at"),
        status=record.text("status"),
        profile_name=record.text("profile_name"),
        machine=record.scalars("machine"),
        state=record.scalars("state"),
        protocol=record.optional_scalars("protocol"),
        versions=record.scalars("versions"),
        cells=record.many("cells", _cell),
    )
    record.end()
    return side


def _cell(record: _Record) -> SideCell:
    cell = SideCell(
        label=record.text("label"),
        identity=record.scalars("identity"),
        status=record.text("status"),
        cause=record.optional_text("cause"),
        artifact_hash=record.optional_text("artifact_hash"),
        facts=record.scalars("facts"),
        estimates=record.many("estimates", _estimate),
        absent=record.texts("absent"),
    )
    record.end()
    return cell


def _estimate(record: _Record) -> Estimate:
    estimate = Estimate(
        metric=record.one_of("metric", tuple(METRICS)),
        unit=record.text("unit"),
        value=record.positive("value"),
        u=record.optional_number("u"),
        df=record.optional_number("df"),
        n=record.count("n"),
        processes=record.optional_count("processes"),
        low=record.optional_number("low"),
        high=record.optional_number("high"),
        provenance=record.one_of("provenance", (None, *PROVENANCES)),
        basis=record.text("basis"),
        scale_u=record.optional_number("scale_u"),
    )
    record.end()
    return estimate
