"""``joulebench measure``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from joulebench.api import examples
from joulebench.commands.helping import output_option

if TYPE_CHECKING:
    from joulebench.meter.uncertainty import Interval
    from joulebench.metering.command import CommandRun
    from joulebench.metering.figures import EnergyFigure
    from joulebench.metering.meter import Meter


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples(
        "joulebench measure -- make -j4",
        "joulebench measure --repeat 5 --idle 10 -- ./program --fast",
        "joulebench measure --json -o cost.json -- python train.py",
    ),
)
@click.option(
    "--repeat",
    default=1,
    show_default=True,
    metavar="N",
    type=click.IntRange(1, 10_000),
    help="Run the command N times; stop at the first run that fails.",
)
@click.option(
    "--idle",
    "idle_s",
    default=0.0,
    metavar="SECONDS",
    type=click.FloatRange(0, 3600),
    help="Measure idle power for SECONDS before the run, for net energies.",
)
@click.option(
    "--calibrate",
    "calibrate_s",
    default=None,
    metavar="SECONDS",
    type=click.FloatRange(0, 60),
    help="Measure each sensor's update period for SECONDS before the run; 0: use the declared one. By default "
    "some 40 updates, at most 1 s, once for a machine and boot.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="probe.NAME.KEY=VALUE",
    help="Set an option of a probe (TOML syntax). Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@output_option("File for the result; by default standard error. A .json suffix means --json.", metavar="FILE")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def measure(
    repeat: int,
    idle_s: float,
    calibrate_s: float | None,
    overrides: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND and measure its energy, time, CPU time and memory.

    Input and output of the command pass through unchanged (with --repeat, only the first run gets
    the input). The exit code is the command's own: 128 + n if signal n ended it, 127 if it is not
    found, 126 if it cannot be executed. Energies are those of the whole machine, other processes
    included; "contended" marks runs during which those were busy.
    """
    from joulebench.metering.meter import Meter
    from joulebench.registry.loading import default_registry
    from joulebench.sensors.probing import ProbeChoices, inspect_probes

    sensors = inspect_probes(default_registry(), ProbeChoices.of_overrides(overrides))
    with Meter(sensors=sensors, calibrate_s=calibrate_s) as meter:
        if idle_s:
            click.echo(f"joulebench: idle baseline, {idle_s:g} s", err=True)
            meter.measure_idle(idle_s)
        runs = _runs(command, meter, repeat)
    as_json = as_json or (output is not None and output.suffix == ".json")
    text = json.dumps(_as_json(command, runs), indent=2) if as_json else _as_text(runs)
    if output is None:
        click.echo(text, err=True)
    else:
        output.write_text(text + "\n", encoding="utf-8")
    return runs[-1].exit_code


def _runs(command: tuple[str, ...], meter: Meter, repeat: int) -> list[CommandRun]:
    """The runs up to the first that fails, each begun at a random moment of the sensors' periods.

    Where a run always began right after a change of the counter, its error would be the same each
    time and no scatter would show it.
    """
    import random
    import time

    from joulebench.metering.command import run_command

    runs: list[CommandRun] = []
    while len(runs) < repeat and not (runs and runs[-1].exit_code):
        if repeat > 1:
            time.sleep(random.uniform(0.0, meter.longest_period_s))  # noqa: S311  no secret
        runs.append(run_command(command, meter))
    return runs


def _mean_j(figures: list[EnergyFigure]) -> Interval | None:
    """Mean joules over the runs: their scatter, and the scale and offset that err alike in all of them."""
    from joulebench.meter.uncertainty import mean_interval, widened

    joules = [figure.gross_j for figure in figures if figure.gross_j is not None]
    if len(joules) < len(figures):
        return None
    interval = mean_interval(joules)
    return widened(interval, max(figure.gross.systematic_u_j for figure in figures))


def _mean_net_j(figures: list[EnergyFigure]) -> Interval | None:
    """Mean net joules: all runs subtract the same idle power, so its part does not shrink."""
    from joulebench.meter.uncertainty import mean_interval, widened

    joules = [figure.net_j for figure in figures if figure.net_j is not None]
    if len(joules) < len(figures):
        return None
    idle_u = max(_idle_u_j(figure) for figure in figures)
    scale_u = max(figure.net.systematic_u_j for figure in figures if figure.net is not None)
    return widened(widened(mean_interval(joules), idle_u), scale_u)


def _idle_u_j(figure: EnergyFigure) -> float:
    """The idle power's part of the standard uncertainty of a net energy."""
    net = 0.0 if figure.net is None else figure.net.u_j or 0.0
    gross = figure.gross.u_j or 0.0
    return math.sqrt(max(net * net - gross * gross, 0.0))


def _by_name(runs: list[CommandRun]) -> dict[str, list[EnergyFigure]]:
    by_name: dict[str, list[EnergyFigure]] = {}
    for run in runs:
        for figure in (*run.measurement.energy, *run.measurement.totals):
            by_name.setdefault(figure.name, []).append(figure)
    return by_name


def _interval_json(interval: Interval | None) -> dict[str, object] | None:
    if interval is None:
        return None
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "u": interval.u,
        "level": interval.level,
        "flags": list(interval.flags),
    }


def _as_json(command: tuple[str, ...], runs: list[CommandRun]) -> dict[str, object]:
    from joulebench.meter.uncertainty import mean_interval

    result: dict[str, object] = {
        "command": list(command),
        "exit_code": runs[-1].exit_code,
        "runs": [{"exit_code": run.exit_code, **run.measurement.as_json()} for run in runs],
    }
    if len(runs) > 1:
        result["mean"] = {
            "seconds": _interval_json(mean_interval([run.measurement.seconds for run in runs])),
            "cpu_s": _interval_json(mean_interval([run.measurement.cpu_s for run in runs])),
            "energy": [
                {
                    "channel": name,
                    "provenance": figures[0].provenance,
                    "gross_j": _interval_json(_mean_j(figures)),
                    "net_j": _interval_json(_mean_net_j(figures)),
                }
                for name, figures in _by_name(runs).items()
            ],
        }
    return result


def _as_text(runs: list[CommandRun]) -> str:
    if len(runs) == 1:
        return f"joulebench: {runs[0].measurement.table()}"
    from joulebench.meter.uncertainty import mean_interval
    from joulebench.metering.figures import aligned, number_text

    def row(name: str, unit: str, interval: Interval | None, more: str) -> list[str]:
        mean = None if interval is None else interval.mean
        spread = "" if interval is None else f"{number_text(interval.low)} … {number_text(interval.high)}"
        return [name, f"{number_text(mean)} {unit}", spread, more]

    measurements = [run.measurement for run in runs]
    rows = [
        [f"joulebench: {len(runs)} runs", "mean", "95 % interval", ""],
        row("time", "s", mean_interval([measurement.seconds for measurement in measurements]), ""),
        row("CPU time", "s", mean_interval([measurement.cpu_s for measurement in measurements]), ""),
    ]
    for name, figures in _by_name(runs).items():
        flags = dict.fromkeys(flag for figure in figures for flag in figure.flags)
        more = "; ".join(part for part in (figures[0].provenance, ", ".join(flags)) if part)
        rows.append(row(name, "J", _mean_j(figures), more))
        if figures[0].net is not None:
            rows.append(row(f"{name}, net", "J", _mean_net_j(figures), figures[0].provenance))
    flags = dict.fromkeys(flag for measurement in measurements for flag in measurement.flags)
    notes = dict.fromkeys(note for measurement in measurements for note in measurement.notes)
    lines = aligned(rows)
    if flags:
        lines.append(f"flags: {', '.join(flags)}")
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])
