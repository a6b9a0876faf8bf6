"""``joulebench doctor``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from joulebench.api import examples
from joulebench.commands.common import echo_json, echo_table, json_option, set_option

if TYPE_CHECKING:
    from joulebench.meter.live.calibration import SensorCalibration
    from joulebench.meter.live.crosscheck import CrossCheck
    from joulebench.registry.loading import Registry
    from joulebench.sensors.probing import Sensors


#: Provenances of energy that satisfy ``--require``.
_REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "any": ("measured", "estimated", "simulated"),
    "estimated": ("measured", "estimated"),
    "measured": ("measured",),
}


@click.command(
    epilog=examples(
        "joulebench doctor",
        "joulebench doctor && joulebench run quick",
        "joulebench doctor --require measured    # fails where energy is only estimated",
        "joulebench doctor --set probe.NAME.enabled=false",
    )
)
@click.option(
    "--require",
    type=click.Choice(tuple(_REQUIRED)),
    default="any",
    show_default=True,
    help="What energy must be for exit code 0: measured, at least estimated, or any.",
)
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0.1, 60.0),
    help="How long each energy channel is read for its resolution.",
)
@set_option
@json_option
def doctor(require: str, seconds: float, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what this machine can measure, at what resolution, and how to fix what is missing.

    Set options of probes as in a profile: --set probe.NAME.KEY=VALUE. Exit code 1 if there is no
    energy channel of the kind that --require names; 0 otherwise.
    """
    from joulebench.meter.live.crosscheck import cross_check, pairs
    from joulebench.registry.loading import default_registry
    from joulebench.sensors.calibrations import calibrated
    from joulebench.sensors.probing import ProbeChoices, inspect_probes

    registry = default_registry()
    sensors = inspect_probes(registry, ProbeChoices.of_overrides(overrides))
    energy = sensors.energy_and_power()
    calibrations = calibrated(energy, seconds)
    checks = [cross_check(first, second) for first, second in pairs(energy)]
    measured = any(channel.provenance == "measured" for channel in energy)
    if as_json:
        echo_json(_as_json(registry, sensors, calibrations, checks, measured))
    else:
        _print(registry, sensors, calibrations, checks, measured)
    return 0 if any(channel.provenance in _REQUIRED[require] for channel in energy) else 1


@dataclass(frozen=True, slots=True)
class BackendState:
    """A backend, and whether it can be used here."""

    backend: str
    available: bool
    reason: str | None
    cure: str | None
    devices: tuple[str, ...]
    versions: dict[str, str]


def _backends(registry: Registry) -> list[BackendState]:
    from joulebench.environments.asking import Interpreters

    interpreters = Interpreters()
    rows: list[BackendState] = []
    for name in registry.names("backend"):
        backend = registry.backend(name)
        place = interpreters.place("backend", backend)
        availability = place.availability
        rows.append(
            BackendState(
                backend=name,
                available=availability.ok,
                reason=availability.reason,
                cure=availability.cure,
                devices=tuple(place.devices),
                versions=dict(place.versions),
            )
        )
    return rows


def _as_json(
    registry: Registry,
    sensors: Sensors,
    calibrations: list[SensorCalibration],
    checks: list[CrossCheck],
    measured: bool,
) -> dict[str, object]:
    from joulebench.runs.machine import describe_machine, preflight

    return {
        "energy_measured": measured,
        "machine": asdict(describe_machine()),
        "preflight": asdict(preflight()),
        "probes": [
            {
                "probe": probe.name,
                **asdict(probe.availability),
                "channels": [asdict(channel) for channel in probe.channels],
            }
            for probe in sensors.probes
        ],
        "calibration": [
            {
                **asdict(calibration),
                "window_for_1_percent_s": calibration.window_for_1_percent_s,
                "window_for_5_percent_s": calibration.window_for_5_percent_s,
            }
            for calibration in calibrations
        ],
        "cross_checks": [{**asdict(check), "agrees": check.agrees} for check in checks],
        "backends": [asdict(backend) for backend in _backends(registry)],
        "broken_plugins": [asdict(plugin) for plugin in registry.broken],
    }


def _print(
    registry: Registry,
    sensors: Sensors,
    calibrations: list[SensorCalibration],
    checks: list[CrossCheck],
    measured: bool,
) -> None:
    _print_machine()
    _print_sensors(sensors)
    _print_calibrations(sensors, calibrations)
    _print_notes(sensors)
    _print_cross_checks(checks)
    _print_backends(registry)
    provenances = {channel.provenance for channel in sensors.energy_and_power()}
    _heading("Verdict")
    if measured:
        click.echo("  Energy can be measured here.")
    elif calibrations:
        click.echo(
            f"  Energy cannot be measured here: it is {' or '.join(sorted(provenances))}, and labelled so.\n"
            "  Time, memory and quality are measured."
        )
    else:
        click.echo("  Energy can be neither measured nor estimated here. Time, memory and quality are measured.")


def _print_machine() -> None:
    from joulebench.runs.machine import describe_machine

    machine = describe_machine()
    cpu, virtual = machine.cpu, machine.virtualization
    _heading("Machine")
    click.echo(
        f"  {cpu.model or 'unknown processor'}, {cpu.usable_cpus} usable CPUs, "
        f"{(machine.memory_bytes or 0) / 2**30:.1f} GiB; {machine.system}"
        + (f"; {_virtual_text(virtual)}" if virtual else "")
    )


def _virtual_text(vendor: str) -> str:
    """``a virtual machine``, with its vendor where the board names one."""
    return "a virtual machine" if vendor == "virtual machine" else f"a virtual machine ({vendor})"


def _print_sensors(sensors: Sensors) -> None:
    _heading("Sensors")
    for state in sensors.probes:
        if not state.availability.ok:
            _missing(state.name, state.availability.reason, state.availability.cure)
            continue
        counts: dict[str, int] = {}
        for channel in state.channels:
            counts[channel.quantity] = counts.get(channel.quantity, 0) + 1
        what = ", ".join(f"{count} {quantity}" for quantity, count in counts.items())
        click.echo(f"  {_mark(True)} {state.name}: {what or 'no channel'}")
        if state.availability.reason:  # it works, and yet not all of it
            click.echo(f"      {state.availability.reason}")
            if state.availability.cure:
                click.echo(f"      → {state.availability.cure}")


def _print_calibrations(sensors: Sensors, calibrations: list[SensorCalibration]) -> None:
    _heading("Energy and power channels")
    if not calibrations:
        click.echo("  none")
        return
    provenance = {channel.path: channel.provenance for channel in sensors.channels}
    echo_table(
        [_calibration_row(calibration, provenance[calibration.channel]) for calibration in calibrations],
        ["  channel", "provenance", "changes every", "(5–95 %)", "quantum", "read", "1 % from", "5 % from"],
    )


def _print_notes(sensors: Sensors) -> None:
    """What a figure of a channel does not show: how far the meter may be off, what its total lacks."""
    for channel in sensors.energy_and_power():
        if channel.note:
            click.echo(f"  {channel.path}: {channel.note}")


def _print_cross_checks(checks: list[CrossCheck]) -> None:
    if not checks:
        return
    _heading("Counters that two probes read")
    for check in checks:
        comparisons = (
            f"{check.between} of {check.readings} readings lie between two of {check.first} "
            f"({check.counted_j:.3g} J; at most {check.worst_j:.2g} J outside, "
            f"{check.allowed_j:.2g} J allowed)"
        )
        if check.agrees is None:
            click.echo(f"  - {check.second}: too little energy was counted for a verdict ({comparisons})")
        else:
            click.echo(f"  {_mark(check.agrees)} {check.second}: {comparisons}")
            if not check.agrees:
                click.echo("      → one of the two is wrong: compare scale, wrap and driver")


def _print_backends(registry: Registry) -> None:
    _heading("Backends")
    for row in _backends(registry):
        if row.available:
            versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
            devices = ", ".join(row.devices)
            click.echo(f"  {_mark(True)} {row.backend} on {devices}" + (f" ({versions})" if versions else ""))
        else:
            _missing(row.backend, row.reason, row.cure)
    for broken in registry.broken:
        _missing(f"plugin {broken.entry_point}", broken.error, None)


def _missing(name: str, reason: str | None, cure: str | None) -> None:
    click.echo(f"  {_mark(False)} {name}: {reason or 'not available'}")
    if cure:
        click.echo(f"      → {cure}")


def _calibration_row(calibration: SensorCalibration, provenance: str) -> list[str]:
    def ms(value: float | None) -> str:
        return "unknown" if value is None else f"{value * 1e3:.3g} ms"

    spread = (
        ""
        if calibration.period_low_s is None or calibration.period_high_s is None
        else f"{calibration.period_low_s * 1e3:.3g}–{calibration.period_high_s * 1e3:.3g} ms"
    )
    period = "each read" if calibration.continuous else ms(calibration.period_s)
    if calibration.frozen:
        period = "never: not reliable"
    quantum = "unknown" if calibration.quantum is None else f"{calibration.quantum:.3g}"
    if calibration.continuous:
        quantum = "continuous"
    windows = [
        "any" if calibration.continuous else ms(window)
        for window in (calibration.window_for_1_percent_s, calibration.window_for_5_percent_s)
    ]
    cost = "unknown" if calibration.read_cost_s is None else f"{calibration.read_cost_s * 1e6:.1f} µs"
    return [f"  {calibration.channel}", provenance, period, spread, quantum, cost, *windows]


def _heading(text: str) -> None:
    click.echo(click.style(text, bold=True))


def _mark(good: bool) -> str:
    return click.style("✓", fg="green") if good else click.style("✗", fg="red")
