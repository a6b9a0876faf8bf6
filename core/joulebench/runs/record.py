"""The record of one cell: its streams while it runs, its row when it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from joulebench.agreement import AgreementRecord
from joulebench.api import Scalar
from joulebench.meter.energy import Trace
from joulebench.meter.live.sampling import Drained
from joulebench.meter.stopping import BlocksSoFar
from joulebench.meter.windows import Accountant, without_energy
from joulebench.plan.cells import PlannedCell
from joulebench.protocol import Block
from joulebench.runs.legs import IdleOfProcesses
from joulebench.runs.orders import TextScore
from joulebench.runs.rows import (
    block_joules,
    block_row,
    energy_row,
    event_rows,
    hottest_at_ends_c,
    mean_cpu_hz,
    note_row,
    request_rows,
    request_values,
    sample_table,
    with_net,
)
from joulebench.runs.simulated import device_rows, of_simulator
from joulebench.sensors.gate import throttled
from joulebench.sensors.idle import IdleBaseline
from joulebench.session import Session
from joulebench.session.conversion import known
from joulebench.session.files import write_table
from joulebench.session.schema import file_schema
from joulebench.session.tables import CELL_ROWS, BlockRow, CellRow, ClockTriple, EnergyRow, EventRow
from joulebench.session.writing import SessionWriter, TableStream
from joulebench.worker.windows import block_windows

#: Flag of a block that the cell measured in the rounds of another group, as its anchor.
ANCHOR: Final = "anchor"
_STREAMS: Final = ("blocks", "energy", "requests", "samples", "events")
#: Tables whose rows belong to a block (events may, samples never do).
_BY_BLOCK: Final = ("energy", "requests", "events")

#: Event whose detail is the cell's ``agreement_json``.
_AGREEMENT: Final = "agreement"
#: Event whose detail is an idle baseline, which a resumed run needs again.
_IDLE: Final = "idle_baseline"


@dataclass(slots=True)
class Turn:
    """Where a block stands in the order of things, and what was waited for before it.

    ``place`` is its place among the blocks that count: a repeat has that of what it repeats, and
    does the same requests. ``anchors`` says that the cell is the anchor of another group's round:
    the block counts for comparisons, not for when the cell ends.
    """

    number: int
    place: int
    round: int
    position: int
    gate_wait_s: float = 0.0
    dither_s: float = 0.0
    flags: tuple[str, ...] = ()
    anchors: bool = False


@dataclass(slots=True)
class Seen:
    """What was seen of the machine while a block ran.

    ``all_cpu_s`` is the CPU time of everything, ``other_cpu_s`` that of all but the worker, the
    sampler and the parent, ``stolen_cpu_s`` what a hypervisor gave to other guests; ``None`` where
    the system does not tell. ``lost`` are the channels whose sampler has ended.
    """

    samples: Drained = field(default_factory=Drained)
    other_cpu_s: float | None = None
    stolen_cpu_s: float | None = None
    all_cpu_s: float | None = None
    lost: frozenset[int] = frozenset()


class CellRecord:
    """Everything that is known of a cell and what of it is on disk."""

    def __init__(
        self, cell: PlannedCell, writer: SessionWriter, accountant: Accountant, resumed_from: Session | None = None
    ) -> None:
        self.cell = cell
        self.accountant = accountant
        self.channels = accountant.channels
        #: Blocks in rounds of the cell's own group, which the stopping rule looks at.
        self.done = BlocksSoFar()
        #: The process of every block.
        self._processes: list[int] = []
        self.flags: dict[str, None] = {}
        self._idle = IdleOfProcesses(self.channels)
        #: How the model scores the profile's text.
        self.text_score: TextScore | None = None
        #: How the cell compares with its reference, once that has been looked at.
        self.agreement_json: str | None = None
        #: The process and the round that come next, and the requests of a block once settled.
        self.next_process = 0
        self.next_round = 0
        self.requests_per_block: int | None = None
        #: Requests in the workload's list; ``None`` before a worker has told it.
        self.list_length: int | None = None
        self._sums: dict[str, float] = {}
        self._writer = writer
        self._clock = ClockTriple.now()
        self._started_at = datetime.now(tz=UTC)
        if resumed_from is not None:
            self._take_over(resumed_from)
        self._streams: dict[str, TableStream] = {}

    # -- a leg: one process of each cell of a group ------------------------------------------------

    def begin_leg(self, before: IdleBaseline | None) -> None:
        """Open the streams for the next process, which begins after an idle baseline."""
        self._open_streams()
        self._add_baseline(self.next_process, before)

    def end_leg(self, after: IdleBaseline | None) -> None:
        """Close the streams until the next leg: a run of many cells may not hold all files open."""
        self._add_baseline(self.next_process - 1, after)
        self.leave()

    def _add_baseline(self, process: int, baseline: IdleBaseline | None) -> None:
        if baseline is not None:
            self._idle.add(process, baseline)
            self._streams["events"].append([note_row(_IDLE, None, self._idle.to_json(process, baseline))])

    def _open_streams(self) -> None:
        self._streams = {name: self._writer.stream(self.cell.id, name) for name in _STREAMS}

    @property
    def blocks(self) -> int:
        """All blocks on record."""
        return len(self._processes)

    @property
    def simulated(self) -> bool:
        """Whether its blocks are in the time of simulated hardware."""
        return self.done.simulated

    # -- going on after an interruption --------------------------------------------------------

    def _take_over(self, session: Session) -> None:
        """Count the blocks that an interrupted run has left; drop what belongs to none of them."""
        blocks, where = session.rows(BlockRow, self.cell.id), f"{session.path}: blocks of {self.cell.id}"
        for event in session.rows(EventRow, self.cell.id):
            if event.kind == _AGREEMENT and event.detail is not None:
                self._hold(event.detail, disagrees=bool(json.loads(event.detail)["disagrees"]))
            elif event.kind == _IDLE and event.detail is not None:
                self._idle.add_json(event.detail)
        self._drop_halves(session, {row.block for row in blocks})
        if not blocks:
            return
        energy: dict[int, list[EnergyRow]] = {}
        for energy_of_block in session.rows(EnergyRow, self.cell.id):
            energy.setdefault(energy_of_block.block, []).append(energy_of_block)
        for row in blocks:
            number, seconds = known(row.round, "round", where), known(row.duration_s, "duration_s", where)
            self._processes.append(row.process)
            self.next_round = max(self.next_round, number + 1)
            if ANCHOR not in row.flags:
                joules = block_joules(energy.get(row.block, []))
                self.done.add(row.process, number, seconds, joules, known(row.units, "units", where))
        values = session.table("requests", self.cell.id).column("values_json").to_pylist()
        self._add(value for text in values for value in request_values(text))
        self.next_process = max(self._processes) + 1
        self.done.simulated = blocks[0].device_s is not None
        self.requests_per_block = blocks[0].requests
        self.flags["resumed"] = None

    def _drop_halves(self, session: Session, finished: set[int]) -> None:
        """Remove the rows of a block that was being written when the run was killed.

        Its own row comes last, so without one it does not count and is measured again.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in _BY_BLOCK:
            table = session.table(name, self.cell.id)
            block = table.column("block")
            kept = pc.or_(pc.is_null(block), pc.is_in(block, value_set=pa.array(sorted(finished), block.type)))
            if table.num_rows and not pc.all(kept).as_py():
                final = self._writer.cell_folder(self.cell.id) / f"{name}.arrow"
                write_table(final, table.filter(kept).cast(file_schema(CELL_ROWS[name])))

    def add_agreement(self, agreement: AgreementRecord) -> None:
        """Keep the comparison with the reference, for the cell's row and for a resumed run."""
        text = json.dumps(agreement.to_json())
        self._streams["events"].append([note_row(_AGREEMENT, None, text)])
        self._hold(text, disagrees=bool(agreement.disagrees))

    def _hold(self, text: str, *, disagrees: bool) -> None:
        self.agreement_json = text
        if disagrees:
            self.flags["disagrees"] = None

    # -- a block -----------------------------------------------------------------------------

    def add_block(self, block: Block, turn: Turn, seen: Seen, *, contended: bool) -> None:
        """Write a block down."""
        samples = seen.samples
        traces = samples.traces()
        self.done.simulated = block.simulated
        flags = [] if block.simulated else self._block_flags(turn, traces, contended=contended)
        if turn.anchors:
            flags.append(ANCHOR)
        energy = self._energy_rows(block, turn.number, traces, seen)
        self._streams["requests"].append(request_rows(self.cell.id, turn.number, block, self._clock))
        self._streams["samples"].write(sample_table(self.channels, block, samples))
        self._note_what_happened(block, turn, seen)
        self._streams["energy"].append(energy)
        start_c, end_c = hottest_at_ends_c(self.channels, traces)
        row = replace(
            block_row(self.cell.id, turn.number, self.next_process - 1, block, self._clock),
            round=turn.round,
            position=turn.position,
            other_cpu_s=seen.other_cpu_s,
            stolen_cpu_s=seen.stolen_cpu_s,
            temperature_start_c=start_c,
            temperature_end_c=end_c,
            frequency_hz=mean_cpu_hz(self.channels, traces),
            gate_wait_s=turn.gate_wait_s,
            dither_s=turn.dither_s,
            flags=tuple(flags),
        )
        # Last: a block counts as finished when its own row is there.
        self._streams["blocks"].append([row])
        if not block.simulated:
            self.flags.update(dict.fromkeys(turn.flags))
        self._processes.append(self.next_process - 1)
        if not turn.anchors:
            self.done.add(self.next_process - 1, turn.round, block.duration_s, block_joules(energy), block.units)
        self._add(item for request in block.requests for item in request.values.items())

    def _block_flags(self, turn: Turn, traces: Mapping[int, Trace], *, contended: bool) -> list[str]:
        """What disturbed a block; nothing of this machine can disturb simulated hardware."""
        flags = [*turn.flags, *(["contended"] if contended else [])]
        if throttled(self.channels, {index: trace.raw for index, trace in traces.items()}):
            flags.append("throttled")
        return flags

    def _add(self, values: Iterable[tuple[str, float]]) -> None:
        for name, value in values:
            self._sums[name] = self._sums.get(name, 0.0) + value

    def _energy_rows(self, block: Block, number: int, traces: Mapping[int, Trace], seen: Seen) -> list[EnergyRow]:
        idle_w = {index: power.power_w for index, power in self._idle.before(self.next_process - 1).items()}
        parts = self.accountant.block_energies(block_windows(block), traces, idle_w)
        parts = [
            replace(part, energy=without_energy(part.energy, "sampler_lost")) if part.index in seen.lost else part
            for part in parts
        ]
        if block.elsewhere:
            parts = [replace(part, energy=without_energy(part.energy, "elsewhere")) for part in parts]
        rows = [energy_row(self.cell.id, number, part, block.cpu_s, seen.all_cpu_s) for part in parts]
        if block.simulated:
            rows = [of_simulator(row) for row in rows]
            rows += device_rows(self.cell.id, number, block)
        return rows

    def _note_what_happened(self, block: Block, turn: Turn, seen: Seen) -> None:
        rows = event_rows(turn.number, block)
        if turn.gate_wait_s > 0:
            rows.append(note_row("gate_wait", turn.number, f"{turn.gate_wait_s:.1f} s"))
        for t_ns, channel in seen.samples.faults:
            note = note_row("sensor_fault", turn.number, self.channels[channel].path)
            rows.append(replace(note, t_ns=t_ns))
        slowest = {channel: took_ns for _, channel, took_ns in sorted(seen.samples.slow, key=lambda row: row[2])}
        for channel, took_ns in slowest.items():
            self.flags["sensor_slow"] = None
            detail = f"{self.channels[channel].path}: a read took {took_ns * 1e-9:.3g} s"
            rows.append(note_row("sensor_slow", turn.number, detail))
        if seen.samples.lost:
            rows.append(note_row("samples_lost", turn.number, f"{seen.samples.lost} records"))
        if seen.lost and "sampler_lost" not in self.flags:
            self.flags["sampler_lost"] = None
            rows.append(note_row("sampler_lost", turn.number, ""))
        self._streams["events"].append(rows)

    # -- looking -------------------------------------------------------------------------------

    def so_far(self) -> BlocksSoFar:
        """What the stopping rule looks at."""
        if self.list_length is not None:
            self.done.list_blocks = math.ceil(self.list_length / (self.requests_per_block or 1))
        return self.done

    # -- ending --------------------------------------------------------------------------------

    def leave(self) -> None:
        """Leave the cell unfinished but readable, for ``--resume``."""
        for stream in self._streams.values():
            stream.close()
        self._streams = {}

    def finish(self, row: CellRow, quality_of: Callable[[dict[str, float]], Mapping[str, Scalar]]) -> None:
        """Fill in net energies, make every table final and write the cell's row.

        ``row`` says what became of the cell's processes; the record adds what it knows.
        """
        self._open_streams()
        for name, stream in self._streams.items():
            if name != "energy":
                stream.finish()
        self._finish_energy()
        self._streams = {}  # final: a run that is stopped later leaves this cell as it is
        quality = {**({} if self.text_score is None else self.text_score.to_json()), **quality_of(self._sums)}
        processes = len(set(self._processes))
        if processes == 1 and not self.simulated:
            self.flags["single_process"] = None
        self._writer.write_cell(
            replace(
                row,
                time_base=self._time_base(),
                quality_json=json.dumps(quality) if quality else None,
                agreement_json=self.agreement_json,
                processes=processes,
                blocks=self.blocks,
                idle=self._idle.rows(),
                flags=tuple(sorted(self.flags)),
                started_at=self._started_at,
                finished_at=datetime.now(tz=UTC),
                clock_start=self._clock,
                clock_end=ClockTriple.now(),
            )
        )

    def _time_base(self) -> str | None:
        """Whose seconds the blocks are in; unknown where there is none."""
        if not self.blocks:
            return None
        return "device" if self.simulated else "host"

    def _finish_energy(self) -> None:
        stream = self._streams["energy"]
        idle = {process: self._idle.around(process) for process in set(self._processes)}
        if not any(idle.values()):
            if self.accountant.indices and not self.simulated:
                self.flags["no_idle_baseline"] = None
            stream.finish()
            return
        process_of = dict(enumerate(self._processes))
        rows = [
            with_net(row, idle[process_of[row.block]].get(row.channel))
            for row in Session(self._writer.path).rows(EnergyRow, self.cell.id)
        ]
        if not self.simulated and any(
            "idle_drift" in power.flags for around in idle.values() for power in around.values()
        ):
            self.flags["idle_drift"] = None
        stream.finish_with(rows)
