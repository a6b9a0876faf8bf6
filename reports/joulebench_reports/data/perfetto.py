"""A trace that Perfetto (ui.perfetto.dev) opens: blocks, phases, tokens and sensors over time.

The form is Chrome's trace event format as JSON ("Trace Event Format", the Chromium project):
complete events (``X``) with a start and a duration, counters (``C``), instants (``i``) and names
(``M``), all times in microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from joulebench.session.tables import BlockRow, EventRow, RequestRow
from joulebench_reports.reading.readings import channels_of
from joulebench_reports.reading.timeline import Detail, Timeline, read_timeline
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from joulebench.session import Session

_TRACKS: Final = {"blocks": 1, "requests": 2, "phases": 3, "tokens": 4, "events": 5}

Event = dict[str, Any]


def trace(session: Session, points: int, tokens: int) -> str:
    """Each cell as a process with a track for blocks, requests, phases, tokens and each sensor; JSON.

    ``points`` bounds each sensor's track, ``tokens`` those of each cell. Text of models and prompts
    is in it as JSON strings alone.
    """
    detail = Detail(buckets=points, tokens=tokens)
    cells = [_Cell(session, place, cell_id, detail) for place, cell_id in enumerate(session.cell_ids, start=1)]
    start_ns = min((s for cell in cells if (s := cell.start_ns) is not None), default=0)
    events = [event for cell in cells for event in cell.events(start_ns)]
    document = {
        "displayTimeUnit": "ms",
        "otherData": {
            "producer": "joulebench",
            "session": plain(session.row.session_id or session.path.name),
            "clock": "monotonic clock of the measured machine, from the first event",
        },
        "traceEvents": events,
    }
    return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"


class _Cell:
    """One cell as a process of the trace."""

    def __init__(self, session: Session, place: int, cell_id: str, detail: Detail) -> None:
        self._pid = place
        self._where = f"{session.path}/cells/{cell_id}"
        self._label = plain(session.labels().get(cell_id, cell_id))
        self._blocks = session.table("blocks", cell_id)
        self._requests = session.table("requests", cell_id)
        self._events = session.table("events", cell_id)
        channels, scales = channels_of(session)
        self._timeline: Timeline = read_timeline(session, cell_id, channels, scales, detail)
        self._most_tokens = detail.tokens
        self._start_ns = self._timeline.start_ns

    @property
    def start_ns(self) -> int | None:
        """The first moment of the cell; ``None`` where it has none."""
        return None if self._timeline.empty else self._start_ns

    def events(self, start_ns: int) -> Iterator[Event]:
        """Everything of the cell, times from ``start_ns``."""
        yield self._meta("process_name", {"name": self._label})
        for name, track in _TRACKS.items():
            yield self._meta("thread_name", {"name": name}, track)
            yield self._meta("thread_sort_index", {"sort_index": track}, track)
        yield from self._block_slices(start_ns)
        yield from self._request_slices(start_ns)
        yield from self._phase_slices(start_ns)
        yield from self._token_slices(start_ns)
        yield from self._instants(start_ns)
        yield from self._counters(start_ns)

    def _meta(self, name: str, about: Mapping[str, object], track: int = 0) -> Event:
        return {"name": name, "ph": "M", "ts": 0, "pid": self._pid, "tid": track, "args": about}

    def _slice(self, name: str, track: str, t0_ns: int, t1_ns: int, origin_ns: int, about: Event) -> Event:
        return {
            "name": name,
            "cat": track,
            "ph": "X",
            "ts": _us(t0_ns - origin_ns),
            "dur": _us(max(0, t1_ns - t0_ns)),
            "pid": self._pid,
            "tid": _TRACKS[track],
            "args": about,
        }

    def _block_slices(self, origin_ns: int) -> Iterator[Event]:
        from joulebench.session.conversion import rows_of

        for row in rows_of(self._blocks, BlockRow, self._where):
            if row.t0_ns is None or row.t1_ns is None:
                continue
            about = {
                "process": row.process,
                "round": row.round,
                "units": row.units,
                "flags": ", ".join(row.flags or ()),
            }
            name = f"block {row.block}"
            yield self._slice(name, "blocks", row.t0_ns, row.t1_ns, origin_ns, about)

    def _request_slices(self, origin_ns: int) -> Iterator[Event]:
        from joulebench.session.conversion import rows_of

        names = ["cell_id", "block", "request", "t0_ns", "t1_ns", "prefill_tokens", "decode_tokens", "ttft_s"]
        for row in rows_of(self._requests.select(names), RequestRow, self._where):
            if row.t0_ns is None or row.t1_ns is None:
                continue
            about = {
                "block": row.block,
                "prefill_tokens": row.prefill_tokens,
                "decode_tokens": row.decode_tokens,
                "ttft_s": row.ttft_s,
            }
            name = f"request {row.request}"
            yield self._slice(name, "requests", row.t0_ns, row.t1_ns, origin_ns, about)

    def _phase_slices(self, origin_ns: int) -> Iterator[Event]:
        """From each edge that begins a phase to the next edge of its request."""
        import pyarrow.compute as pc

        from joulebench.session.conversion import rows_of

        table = self._events.filter(pc.equal(self._events["kind"], "phase"))
        before: EventRow | None = None
        for row in rows_of(table, EventRow, self._where):
            same = before is not None and (before.block, before.request) == (row.block, row.request)
            if before is not None and same and before.detail not in (None, "start", "end"):
                about = {"block": row.block, "request": row.request}
                yield self._slice(plain(before.detail), "phases", before.t_ns, row.t_ns, origin_ns, about)
            before = row

    def _token_slices(self, origin_ns: int) -> Iterator[Event]:
        """From one token to the next; the first from its request's start."""
        import pyarrow as pa

        from joulebench.session.conversion import rows_of

        left = self._most_tokens
        names = ["cell_id", "block", "request", "t0_ns", "token_t_ns"]
        for batch in self._requests.select(names).to_batches(max_chunksize=256):
            for row in rows_of(pa.Table.from_batches([batch]), RequestRow, self._where):
                begin = row.t0_ns
                for place, t_ns in enumerate((row.token_t_ns or ())[:left]):
                    if begin is not None and t_ns is not None:
                        about = {"block": row.block, "request": row.request}
                        yield self._slice(f"token {place}", "tokens", begin, t_ns, origin_ns, about)
                    begin = t_ns
                left -= len(row.token_t_ns or ())
                if left <= 0:
                    return

    def _instants(self, origin_ns: int) -> Iterator[Event]:
        """What else happened: waits of the gate, faults of sensors."""
        for mark in self._timeline.marks:
            yield {
                "name": plain(mark.kind),
                "cat": "events",
                "ph": "i",
                "s": "p",
                "ts": self._in_us(mark.t0_s, origin_ns),
                "pid": self._pid,
                "tid": _TRACKS["events"],
                "args": {"detail": plain(mark.label)},
            }

    def _counters(self, origin_ns: int) -> Iterator[Event]:
        """Power in W, memory in MiB, temperature in °C; each named with its provenance."""
        line = self._timeline
        groups = [("W", line.power_w), ("°C", line.temperature_c)]
        groups += [("MiB", series) for _, series in line.memory_mib]
        for unit, group in groups:
            for series in group:
                name = f"{plain(series.channel)}, {unit} ({series.provenance})"
                for t_s, value in zip(series.t_s, series.mean, strict=True):
                    if value is not None:
                        yield {
                            "name": name,
                            "ph": "C",
                            "ts": self._in_us(t_s, origin_ns),
                            "pid": self._pid,
                            "tid": 0,
                            "args": {unit: value},
                        }

    def _in_us(self, t_s: float, origin_ns: int) -> float:
        return _us(round(t_s * 1e9) + self._start_ns - origin_ns)


def _us(nanoseconds: int) -> float:
    return nanoseconds / 1000
