"""A published prompt as rows of a session: a block of one request with its energies."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from datetime import UTC, datetime
from typing import Final

from joulebench.session.tables import BlockRow, EnergyRow, RequestRow
from joulebench_reports.melodi.columns import FEATURES, J_PER_KWH
from joulebench_reports.melodi.publishedtable import PublishedRow
from joulebench_reports.melodi.sensors import LOAD_NS, SENSORS, TOTAL_NS, channel_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def utc_ns(moment: datetime | None) -> int | None:
    """Nanoseconds of UTC since 1970, which is the session's monotonic clock as well."""
    if moment is None:
        return None
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000_000 + passed.microseconds * 1000


def _known(row: PublishedRow, column: str) -> float | None:
    """A number that may be believed: a negative time, count or energy is unknown."""
    value = row.numbers.get(column)
    return None if value is None or value < 0 else value


def _seconds(row: PublishedRow) -> float | None:
    start, end = row.times["start_time"], row.times["end_time"]
    if row.clock_s is not None and row.clock_s > 0:
        return row.clock_s
    if start is None or end is None or end <= start:
        return None
    return (end - start).total_seconds()


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _after_first(tokens: float | None) -> int | None:
    """Tokens of an answer after the first, which ends the prefill."""
    return None if tokens is None or tokens < 1 else round(tokens) - 1


def block_row(cell_id: str, place: int, row: PublishedRow) -> BlockRow:
    """The block that stands for a prompt: number ``place`` of its table."""
    tokens = _known(row, "response_token_length")
    return BlockRow(
        cell_id=cell_id,
        block=place,
        process=0,
        t0_ns=utc_ns(row.times["start_time"]),
        t1_ns=utc_ns(row.times["end_time"]),
        start_utc=row.times["start_time"],
        duration_s=_seconds(row),
        requests=1,
        prefill_tokens=_whole(_known(row, "prompt_token_length")),
        decode_tokens=_after_first(tokens),
        units=tokens,
    )


def energy_rows(
    cell_id: str, place: int, row: PublishedRow, columns: Container[str], silent: Container[str]
) -> Iterator[EnergyRow]:
    """The energies in the table's ``columns``, unknown where a sensor was ``silent``."""
    for sensor in SENSORS:
        if sensor.column not in columns:
            continue
        kwh = _known(row, sensor.column)
        is_silent = sensor.column in silent
        # A sensor that says 0 for one prompt saw nothing of it; no machine takes no energy.
        known = kwh if kwh and not is_silent else None
        flag = "counter_frozen" if is_silent else "sensor_lost"
        yield EnergyRow(
            cell_id=cell_id,
            block=place,
            phase="total",
            channel=channel_of(sensor.column),
            domain=sensor.domain,
            provenance=sensor.provenance,
            method="integrated",
            counted=sensor.counted,
            duration_s=_seconds(row),
            gross_j=None if known is None else known * J_PER_KWH,
            flags=(flag,) if known is None else (),
        )


def request_row(cell_id: str, place: int, row: PublishedRow) -> RequestRow:
    """The block's one request, with the published features among its values."""
    tokens = _known(row, "response_token_length")
    after = _after_first(tokens)
    prefill_ns, decode_ns = _known(row, "prompt_duration"), _known(row, "response_duration")
    values: dict[str, float | str | None] = {
        "response_token_length": _whole(tokens),
        TOTAL_NS: _known(row, "total_duration"),
        LOAD_NS: _known(row, "load_duration"),
        **{name: row.numbers[name] for name in FEATURES if name in row.numbers},
        "text_standard": row.texts["text_standard"],
    }
    return RequestRow(
        cell_id=cell_id,
        block=place,
        request=0,
        prompt_index=place,
        t0_ns=utc_ns(row.times["start_time"]),
        t1_ns=utc_ns(row.times["end_time"]),
        start_utc=row.times["start_time"],
        end_utc=row.times["end_time"],
        duration_s=_seconds(row),
        prefill_s=None if prefill_ns is None else prefill_ns * 1e-9,
        decode_s=None if decode_ns is None else decode_ns * 1e-9,
        tpot_s=decode_ns * 1e-9 / after if decode_ns is not None and after else None,
        prefill_tokens=_whole(_known(row, "prompt_token_length")),
        decode_tokens=after,
        units=tokens,
        prompt=row.texts["prompt"],
        response=row.texts["response"],
        values_json=json.dumps({k: v for k, v in values.items() if v is not None}),
    )
