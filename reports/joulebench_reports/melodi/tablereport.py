"""``--format melodi``: a session's requests in MELODI's own columns, as CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from joulebench.api import PROVENANCES, Provenance, Settings
from joulebench_reports.data.spreadsheet import csv_text
from joulebench_reports.melodi.columns import FEATURES, J_PER_KWH, PUBLISHED
from joulebench_reports.melodi.features import Libraries, installed_libraries, prompt_features
from joulebench_reports.melodi.requests import Joules, MeasuredRequest, measured_requests
from joulebench_reports.melodi.sensors import LOAD_NS, TOTAL_NS, channel_of
from joulebench_reports.words.text import visible

if TYPE_CHECKING:
    from joulebench.session import Session

Value = str | int | float | None

#: Columns that ``extended`` adds after the published ones.
EXTENDED: Final = (
    "energy_provenance",
    "energy_method",
    "energy_flags",
    "cell",
    "backend",
    "device",
    "technique",
    "workload",
    "block",
    "request",
    "prompt_index",
)


def request_table(session: Session, settings: Settings) -> str:
    """The table; unknown is an empty field. What it cannot say goes to standard error."""
    requests = list(measured_requests(session))
    wanted = settings.get("provenance")
    provenance = _provenance(requests) if wanted is None else _as_provenance(str(wanted))
    extended = bool(settings.get("extended", False))
    kind = settings.get("type")
    device = str(kind) if kind is not None else machine_kind(session)
    libraries = installed_libraries()
    features: dict[str, Mapping[str, Value]] = {}
    rows = (_row(request, provenance, device, libraries, features) for request in requests)
    table = csv_text((*PUBLISHED, *EXTENDED) if extended else PUBLISHED, rows)
    for note in _notes(requests, provenance, libraries):
        _say(note)
    return table


def machine_kind(session: Session) -> str | None:
    """What the session knows of the machine, as a kind of device."""
    machine = session.json("machine_json") or {}
    cpu = machine.get("cpu") if isinstance(machine, dict) else None
    model = cpu.get("model") if isinstance(cpu, dict) else None
    if not model:
        return None
    return f"virtual machine, {model}" if machine.get("virtualization") else str(model)


def _provenance(requests: Sequence[MeasuredRequest]) -> Provenance | None:
    """The most trusted provenance of which any request has an energy."""
    provenances = {provenance for request in requests for provenance in request.provenances}
    return next((provenance for provenance in PROVENANCES if provenance in provenances), None)


def _as_provenance(text: str) -> Provenance | None:
    return next((provenance for provenance in PROVENANCES if provenance == text), None)


def _row(
    request: MeasuredRequest,
    provenance: Provenance | None,
    machine: str | None,
    libraries: Libraries,
    features: dict[str, Mapping[str, Value]],
) -> dict[str, Value]:
    total = _energy(request, provenance)
    published = {name: request.values[name] for name in FEATURES if name in request.values}
    if published:
        described: Mapping[str, Value] = {
            **{k: v for k, v in published.items() if not isinstance(v, bool)},
            "text_standard": _text(request.values.get("text_standard")),
        }
    else:
        prompt = request.prompt or ""
        if prompt not in features:
            features[prompt] = prompt_features(prompt, libraries) if prompt else {}
        described = features[prompt]
    is_published = bool(request.cell.faults) or TOTAL_NS in request.values
    return {
        "model_name": request.cell.model,
        "created_at": _iso(request.end),
        "total_duration": _ns(request.duration_s, request.values.get(TOTAL_NS)),
        "load_duration": _ns(None, request.values.get(LOAD_NS)),
        "prompt_token_length": request.prompt_tokens,
        "prompt_duration": _ns(request.prefill_s),
        "response_token_length": request.response_tokens,
        "response_duration": _ns(request.decode_s),
        "prompt": request.prompt,
        "response": request.response,
        "type": request.cell.device if is_published else machine,
        "clock_duration": request.duration_s,
        "start_time": _iso(request.start),
        "end_time": _iso(request.end),
        **_energies(request, provenance, total),
        **described,
        "energy_provenance": provenance,
        "energy_method": " + ".join(total.methods),
        "energy_flags": " ".join(total.flags),
        "cell": request.cell.label,
        "backend": request.cell.backend,
        "device": request.cell.device,
        "technique": request.cell.technique,
        "workload": request.cell.workload,
        "block": request.block,
        "request": request.request,
        "prompt_index": request.prompt_index,
    }


def _energy(request: MeasuredRequest, provenance: Provenance | None) -> Joules:
    if provenance is None:
        return Joules(None, None, ("no_counted_channel",))
    return request.energy(provenance)


def _energies(request: MeasuredRequest, provenance: Provenance | None, total: Joules) -> dict[str, Value]:
    """kWh by column: a published table's own, else sums over the domains of one provenance."""
    if any(energy.channel.startswith("melodi/") for energy in request.energies):
        energies = {
            name: request.of_channel(channel_of(name)).gross_j
            for name in PUBLISHED
            if name.startswith("energy_consumption_")
        }
    else:
        parts = {
            part: None if provenance is None else request.energy(provenance, part).gross_j for part in ("cpu", "gpu")
        }
        energies = {
            "energy_consumption_llm_cpu": parts["cpu"],
            "energy_consumption_llm_gpu": parts["gpu"],
            "energy_consumption_llm_total": total.gross_j,
            "energy_consumption_llm": total.gross_j,
        }
    return {name: None if joules is None else joules / J_PER_KWH for name, joules in energies.items()}


def _ns(seconds: float | None, published: object = None) -> int | None:
    if isinstance(published, (int, float)):
        return round(published)
    return None if seconds is None else round(seconds * 1e9)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(" ", "microseconds")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _notes(requests: Sequence[MeasuredRequest], provenance: Provenance | None, libraries: Libraries) -> list[str]:
    notes: list[str] = []
    totals = [_energy(request, provenance) for request in requests]
    unknown = [total for total in totals if total.gross_j is None]
    if provenance is not None and len(unknown) < len(totals):
        channels = sorted({name for total in totals for name in total.channels})
        notes.append(
            f"energies are {provenance} ({', '.join(channels)}), gross; the columns cannot say so, "
            "'--option extended=true' adds one that does"
        )
    if unknown:
        flags = Counter(flag for total in unknown for flag in total.flags)
        why = ", ".join(f"{flag} ({count})" for flag, count in flags.most_common())
        notes.append(f"{len(unknown)} of {len(totals)} requests have no energy of their own: {why}")
    if any(request.prompt and not set(FEATURES) & set(request.values) for request in requests):
        notes.append(f"prompt features left empty: {'; '.join(libraries.notes)}")
    return notes


def _say(note: str) -> None:
    import click

    click.echo(f"note: {visible(note)}", err=True)
