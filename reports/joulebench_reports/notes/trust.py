"""In words: where the energy comes from, what is missing and why, and how far to trust it."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence

from joulebench.api import PROVENANCES
from joulebench_reports.reading import simulated
from joulebench_reports.reading.limits import limit_notes
from joulebench_reports.values.agreement import agreement_notes, missing_figures
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary, EnergySummary, ProbeReport, SessionSummary
from joulebench_reports.values.note import Note
from joulebench_reports.words.flags import explain, severity
from joulebench_reports.words.text import (
    MARKS,
    counted,
    data_size,
    number,
    pattern_of,
    percent,
    plain,
    seconds,
    shared_text,
)

#: What each provenance means, for the legend.
LEGEND: Mapping[str, str] = {
    "measured": "read from an energy or power sensor of this machine",
    "estimated": "computed from a model of the machine (such as CPU time × declared power); "
    "good for comparing cells on one machine, not for its absolute value",
    "simulated": "computed for hardware that is not here; the host's own joules are not in it",
    "extrapolated": "computed from cells with some of the model's layers; no model of that size was run",
}


#: Cells whose repetitions stand one by one; more are told of together.
_MOST_ALONE = 24
#: Models that a title names, and cells without figures that are told of one by one.
_MOST_MODELS = 6
_MOST_MISSING = 8
_LETTERS = string.ascii_lowercase + string.ascii_uppercase


def machine_line(machine: Mapping[str, object]) -> str:
    """Processor, memory and system in one line, from whatever the record holds."""
    cpu = machine.get("cpu")
    processor = cpu.get("model") if isinstance(cpu, dict) else cpu
    names = ("threads", "logical_cpus")
    counts = [cpu[name] for name in names if cpu.get(name)] if isinstance(cpu, dict) else []
    memory = machine.get("memory_bytes")
    parts = [
        processor,
        f"{counts[0]} threads" if counts else None,
        data_size(memory) if isinstance(memory, (int, float)) else None,
        machine.get("system"),
    ]
    accelerators = machine.get("accelerators")
    for accelerator in accelerators if isinstance(accelerators, list) else []:
        name = accelerator.get("name") if isinstance(accelerator, dict) else accelerator
        parts.append(name)
    return ", ".join(plain(part) for part in parts if part) or "machine not recorded"


def machine_lines(summary: SessionSummary) -> list[str]:
    """The machine in a line, or a line for each session of several."""
    if not summary.parts:
        return [machine_line(summary.machine)]
    return [
        f"{plain(part.name)}: {machine_line(part.machine)}; {plain(part.profile_name)}, "
        f"{plain(part.created_at or 'date unknown')}, {plain(part.status)}"
        for part in summary.parts
    ]


def model_names(summary: SessionSummary) -> str:
    """The models of the session; a cell that was cut off may not have recorded its own."""
    names = list(dict.fromkeys(cell.model for cell in summary.cells if cell.model != "unknown"))
    if len(names) > _MOST_MODELS:
        return f"{', '.join(names[:_MOST_MODELS])} and {len(names) - _MOST_MODELS} more"
    return ", ".join(names) or ("unknown model" if summary.cells else "no cells")


def flag_letters(cells: Sequence[CellSummary]) -> dict[str, str]:
    """A letter for each flag of these cells, where a table has no room for names."""
    flags = sorted({flag.flag for cell in cells for flag in cell.flags})
    return {flag: _LETTERS[i] if i < len(_LETTERS) else "?" for i, flag in enumerate(flags)}


def banner(summary: SessionSummary) -> str:
    """The session's energy provenance in one sentence, with the reason for what is not measured."""
    known: dict[str, list[EnergySummary]] = {}
    for cell in summary.shown:
        for energy in cell.energy:
            if energy.gross.value is not None or energy.net.value is not None:
                known.setdefault(energy.provenance, []).append(energy)
    parts = [_origin(name, known[name]) for name in PROVENANCES if name in known]
    text = "; ".join(parts) if parts else "NONE – no cell has an energy figure"
    if "measured" in known:
        incomplete = any("parts_missing" in energy.gross.flags for energy in known["measured"])
        return f"Energy: {text}" + (" – the total lacks a part that could not be read" if incomplete else "")
    why = plain(_why_not_measured(summary))
    return f"Energy: {text}" + (f" – {why}" if why else "")


def _why_not_measured(summary: SessionSummary) -> str:
    """Sensors that gave no figure are another matter than no sensors."""
    silent = [energy for cell in summary.shown for energy in cell.energy if energy.provenance == "measured"]
    if silent:
        reasons = dict.fromkeys(energy.gross.reason_if_null for energy in silent if energy.gross.reason_if_null)
        return f"the energy sensors gave no figure: {', '.join(map(_first_clause, reasons))}"
    absent = [probe for probe in summary.probes if not probe.available and not _is_unasked(probe)]
    asked = [f"{probe.probe} ({_first_clause(probe.reason or 'not available')})" for probe in absent if probe.requested]
    if asked:
        return f"no energy sensor: {', '.join(asked)}"
    if absent:
        return "no energy sensor can be read here ('joulebench doctor' says why)"
    whys = (cell.headline.reason_if_null for cell in summary.shown if cell.headline.reason_if_null)
    return next((f"no energy sensor: {why}" for why in whys), "")


def _first_clause(reason: str) -> str:
    """Enough of a reason for one line; the whole of it stands under what is missing."""
    return re.split(r"[;:] ", reason, maxsplit=1)[0]


def _origin(provenance: str, energies: list[EnergySummary]) -> str:
    channels = ", ".join(dict.fromkeys(name for energy in energies for name in energy.channels))
    methods = ", ".join(dict.fromkeys(name for energy in energies for name in energy.methods))
    scales = [s for energy in energies if (s := energy.scale_relative_uncertainty) is not None]
    scale = f", scale ±{percent(max(scales))} (1 σ)" if scales else ""
    return f"{provenance.upper()} ({plain(channels)}; {plain(methods)}{scale})"


def _is_unasked(probe: ProbeReport) -> bool:
    """A probe that waits to be asked: what would cure it is a setting of its own."""
    return not probe.requested and (probe.cure or "").startswith("[probe.")


def unmeasured(summary: SessionSummary) -> list[Note]:
    """What could not be measured, why, and how to fix it.

    Where energy was measured, probes that the profile does not name are only named.
    """
    measured = any(cell.headline.provenance == "measured" and cell.headline.value for cell in summary.shown)
    absent = [probe for probe in summary.probes if not probe.available and not _is_unasked(probe)]
    explained = [probe for probe in absent if probe.requested or not measured]
    notes = [
        Note(f"probe {probe.probe}", f"{probe.reason or 'not available'}.{f' Fix: {probe.cure}' if probe.cure else ''}")
        for probe in explained
    ]
    others = [probe.probe for probe in absent if probe not in explained]
    if others:
        notes.append(Note("other probes", f"{', '.join(others)} cannot be read here; 'joulebench doctor' says why"))
    return notes + _grouped(_null_figures(cell) for cell in summary.shown)


def _null_figures(cell: CellSummary) -> list[tuple[str, str, str]]:
    """(what, why, which cell) of each figure that a reader would look for and not find."""
    looked_for = [("energy (gross)", cell.headline), ("energy (net)", cell.headline_net)]
    if cell.simulated:  # what this machine's sensors cannot say of it is no lack
        looked_for = looked_for[:1]
    missing = [
        (name, figure.reason_if_null or "no reason recorded", cell.label)
        for name, figure in looked_for
        if figure.value is None
    ]
    if cell.headline.value is None:
        missing = [entry for entry in missing if entry[0] != "energy (net)"]
    if cell.quality.perplexity is None:
        missing.append(("perplexity", "perplexity was not measured in this session", cell.label))
    missing += [(what, why, cell.label) for what, why in missing_figures(cell.agreement)]
    if cell.memory.rss_peak_bytes is None and not cell.simulated:
        missing.append(("peak memory", "no reading of the worker's memory", cell.label))
    if cell.temperature_max_c is None and not cell.simulated:
        missing.append(("temperature", "no temperature channel gave a reading", cell.label))
    return missing


def _grouped(cells: Iterable[list[tuple[str, str, str]]]) -> list[Note]:
    """Merges equal statements about several cells into one."""
    by_statement: dict[tuple[str, str], list[str]] = {}
    for missing in cells:
        for what, why, label in missing:
            by_statement.setdefault((what, why), []).append(label)
    return [Note(what, f"{why} ({_cells_in_words(labels)})") for (what, why), labels in by_statement.items()]


def _cells_in_words(labels: list[str]) -> str:
    return ", ".join(labels) if len(labels) <= 3 else f"{len(labels)} cells"


def trust_notes(summary: SessionSummary, letters: Mapping[str, str] | None = None) -> list[Note]:
    """Repetition, processes, scale, measurement overhead and each flag in words.

    ``letters`` are those by which the report's table names flags, if it does.
    """
    shown = summary.shown
    if not shown:
        return []
    notes = [
        Note(
            "intervals",
            "± is the 95 % interval over the cell's blocks, widened for their correlation; no ± means too few blocks",
        )
    ]
    notes += _protocol_notes(summary)
    notes += _model_notes(summary)
    notes += _repetition_notes(shown)
    compared = [(cell.label, cell.agreement) for cell in shown]
    notes += [Note(term, text) for term, text in agreement_notes(compared)]
    notes += _scale_notes(shown)
    notes += [Note(term, text) for term, text in simulated.notes(shown)]
    notes += _limit_notes(shown)
    notes += _observer_notes(shown)
    return notes + _flag_notes(shown, letters or {})


def _protocol_notes(summary: SessionSummary) -> list[Note]:
    """The published procedure of a session that followed one."""
    return [
        Note(
            f"{part.name} · protocol" if part.name else "protocol",
            f"the run followed the published procedure '{part.protocol}', not the protocol of "
            "joulebench; the flags below say what that does to the figures",
        )
        for part in summary.parts or (summary,)
        if part.protocol
    ]


def _repetition_notes(cells: tuple[CellSummary, ...]) -> list[Note]:
    """Blocks and processes of each cell; of many cells, equal ones together."""
    repetitions = [
        (cell.label, f"{counted(cell.blocks, 'block')}, {counted(cell.processes, 'process')}") for cell in cells
    ]
    if len(repetitions) <= _MOST_ALONE:
        return [Note(label, text) for label, text in repetitions]
    together: dict[str, list[str]] = {}
    for label, text in repetitions:
        together.setdefault(text, []).append(label)
    return [Note(_cells_in_words(labels), text) for text, labels in together.items()]


def _limit_notes(cells: tuple[CellSummary, ...]) -> list[Note]:
    return [Note(term, text) for term, text in limit_notes(cells)]


def _scale_notes(cells: tuple[CellSummary, ...]) -> list[Note]:
    undeclared: dict[tuple[str, float], None] = {}
    #: By what meters declare: an offset is another share of each cell's power.
    declared: dict[tuple[str, str], float] = {}
    for cell in cells:
        for energy in cell.energy:
            scale, accuracy = energy.scale_relative_uncertainty, _declared_accuracy(energy)
            if scale and accuracy:
                declared[energy.provenance, accuracy] = max(scale, declared.get((energy.provenance, accuracy), 0.0))
            elif scale:
                undeclared[energy.provenance, scale] = None
    same = "(1 σ), the same for all cells, which is not in the interval"
    return [
        *(Note(f"{kind} energy", f"its scale is uncertain by ±{percent(scale)} {same}") for kind, scale in undeclared),
        *(
            Note(f"{kind} energy", f"it is uncertain by at most ±{percent(scale)} {same}: {accuracy}")
            for (kind, accuracy), scale in declared.items()
        ),
    ]


def _declared_accuracy(energy: EnergySummary) -> str:
    """What the meters of an energy declare of how far they may be off, from their notes."""
    parts = [part for note in energy.notes for part in note.split("; ") if part.startswith("accuracy ±")]
    return ", ".join(dict.fromkeys(parts))


def _observer_notes(cells: tuple[CellSummary, ...]) -> list[Note]:
    notes: list[Note] = []
    shares = [c.observer.cpu_share for c in cells if c.observer.cpu_share is not None]
    if shares:
        notes.append(Note("measurement overhead", f"the sampler used at most {percent(max(shares))} of one core"))
    ticks = sum(cell.observer.ticks or 0 for cell in cells)
    if ticks:
        missed = sum(cell.observer.missed or 0 for cell in cells)
        late = [c.observer.late_p99_s for c in cells if c.observer.late_p99_s is not None]
        lateness = f"; 99 % of ticks at most {seconds(max(late))} late" if late else ""
        notes.append(Note("sampler", f"{missed} of {ticks:,} ticks missed{lateness}"))
    return notes


def _flag_notes(cells: tuple[CellSummary, ...], letters: Mapping[str, str]) -> list[Note]:
    places: dict[str, list[str]] = {}
    for cell in cells:
        for flag in cell.flags:
            share = "" if flag.blocks is None else f" ({flag.blocks} of {cell.blocks} blocks)"
            places.setdefault(flag.flag, []).append(cell.label + share)
    notes: list[Note] = []
    for name, labels in sorted(places.items(), key=lambda place: (severity(place[0]), place[0])):
        term = f"{letters[name]} {name}" if name in letters else name
        meaning = explain(name)
        where = _cells_in_words(labels)
        notes.append(Note(term, where if meaning == name else f"{meaning} – {where}"))
    for cell in cells:
        for energy in cell.energy:
            notes += _disturbance(cell, energy)
    return notes


def _disturbance(cell: CellSummary, energy: EnergySummary) -> list[Note]:
    """The energy with and without the disturbed blocks, where there are any."""
    calm = energy.without_flagged
    if calm.value is None or energy.gross.value is None or calm.n == energy.gross.n:
        return []
    return [
        Note(
            f"{cell.label} without disturbed blocks",
            f"{number(calm.value, 4)} {calm.unit} over {counted(calm.n, 'block')}, against "
            f"{number(energy.gross.value, 4)} over all {energy.gross.n} ({energy.provenance})",
        )
    ]


def missing_notes(summary: SessionSummary) -> list[Note]:
    """Cells without figures, each with its cause; of many, those that are without for the same one together."""
    if len(summary.missing) <= _MOST_MISSING:
        return [Note(cell.label, _why_missing(cell)) for cell in summary.missing]
    by_pattern: dict[str, list[CellSummary]] = {}
    for cell in summary.missing:
        by_pattern.setdefault(pattern_of(_why_missing(cell)), []).append(cell)
    return [
        Note(_cells_in_words([cell.label for cell in cells]), shared_text([_why_missing(cell) for cell in cells]))
        for cells in by_pattern.values()
    ]


def _why_missing(cell: CellSummary) -> str:
    kind = f" ({cell.cause_kind})" if cell.cause_kind else ""
    return f"{cell.status}{kind}: {cell.cause or 'no cause recorded'}"


def severest_notes(summary: SessionSummary, letters: Mapping[str, str]) -> list[Note]:
    """The notes of a whole report, those first that a reader must not miss."""
    shown = summary.shown
    flags = _flag_notes(shown, letters)
    agreements = [Note(term, text) for term, text in agreement_notes([(c.label, c.agreement) for c in shown])]
    procedure = [*_protocol_notes(summary), *_model_notes(summary)]
    missing = missing_notes(summary)
    simulations = [Note(term, text) for term, text in simulated.notes(shown)]
    return [*missing, *procedure, *simulations, *agreements, *flags, *unmeasured(summary), *_limit_notes(shown)]


def _model_notes(summary: SessionSummary) -> list[Note]:
    return [Note(model, text) for part in summary.parts or (summary,) for model, text in part.model_notes]


def flag_words(cell: CellSummary) -> str:
    """The cell's flags in a table: name, with the number of blocks that carry it."""
    words = [flag.flag if flag.blocks is None else f"{flag.flag} ×{flag.blocks}" for flag in cell.flags]
    return ", ".join(words)


def mark(figure: Figure) -> str:
    """``est.`` or ``sim.`` beside a figure that is not measured."""
    return MARKS.get(figure.provenance or "measured", "") if figure.value is not None else ""
