"""``joulebench plugin``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import echo_json, echo_table, json_option
from joulebench.commands.helping import CommandGroup, output_option

if TYPE_CHECKING:
    from joulebench.pluginkit.results import CheckReport, CheckResult

KINDS: Final = ("backend", "technique", "converter", "probe", "workload", "renderer")


@click.group(cls=CommandGroup)
def plugin() -> None:
    """List installed plugins, write new ones, and check that plugins keep their contracts."""


@dataclass(frozen=True, slots=True)
class ListedPlugin:
    """A plugin that could be loaded, and its state on this machine."""

    kind: str
    name: str
    distribution: str
    available: bool
    reason: str | None
    cure: str | None
    summary: str


@plugin.command("list", epilog=examples("joulebench plugin list"))
@json_option
def list_plugins(as_json: bool) -> None:
    """List every plugin by kind with its state on this machine, and broken ones with their error."""
    from joulebench.registry.availability import availability_of
    from joulebench.registry.loading import default_registry, provided_names

    registry = default_registry()
    rows: list[ListedPlugin] = []
    for kind, names in provided_names(registry).items():
        for name in names:
            made = registry.make(kind, name)
            availability = availability_of(made)
            rows.append(
                ListedPlugin(
                    kind=kind,
                    name=name,
                    distribution=registry.distribution_of(kind, name),
                    available=availability.ok,
                    reason=availability.reason,
                    cure=availability.cure,
                    summary=made.summary,
                )
            )
    broken = [
        {"entry_point": plugin.entry_point, "distribution": plugin.distribution, "error": plugin.error}
        for plugin in registry.broken
    ]
    if as_json:
        echo_json({"plugins": [asdict(row) for row in rows], "broken": broken})
        return
    echo_table(
        [[row.kind, row.name, row.distribution, _state(row), row.summary] for row in rows],
        ["kind", "name", "from", "state", "what it does"],
    )
    for plugin in broken:
        click.echo(
            click.style("broken ", fg="red", bold=True)
            + f"{plugin['entry_point']} (from {plugin['distribution']}): {plugin['error']}"
        )


def _state(row: ListedPlugin) -> str:
    if row.available:
        return "ready"
    return f"{row.reason}" + (f" → {row.cure}" if row.cure else "")


@plugin.command(
    "new",
    epilog=examples(
        "joulebench plugin new acme --kind probe",
        "joulebench plugin new acme --kind backend --kind technique -o plugins",
    ),
)
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), multiple=True, required=True, help="What it adds. Repeatable.")
@output_option("Folder for the plugin's own folder; by default this one.", default=Path(), metavar="FOLDER")
def new(name: str, kind: tuple[str, ...], output: Path) -> None:
    """Write a distribution joulebench-NAME with a working plugin of each KIND and its tests.

    NAME has lower-case letters, digits, and hyphens between words. The result can be installed as
    it is, keeps its contract, and is yours to change.
    """
    from joulebench.pluginkit.writing import write_distribution

    made = write_distribution(name, tuple(dict.fromkeys(kind)), output)
    click.echo(f"wrote {made.folder}:")
    for file in made.files:
        click.echo(f"  {file}")
    click.echo(
        f"next:\n  cd {made.folder}\n  pip install -e '.[test]'\n  pytest\n"
        f"  joulebench plugin check {made.distribution}"
    )


@plugin.command(
    "check",
    epilog=examples(
        "joulebench plugin check                         # all that do not come with joulebench",
        "joulebench plugin check serial --json",
        "joulebench plugin check serial --set probe.serial.port=/dev/ttyUSB0",
    ),
)
@click.argument("name", required=False, shell_complete=completing.plugins)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KIND.NAME.KEY=VALUE",
    help="Set an option of a plugin, as a profile does. Repeatable.",
)
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Maximum time of one check.",
)
@json_option
def check(name: str | None, settings: tuple[str, ...], limit_s: float, as_json: bool) -> int:
    """Check installed plugins, each check in a process of its own, and show what is wrong.

    NAME is a plugin, an entry point or a distribution; without it, all that do not come with
    joulebench are checked. Checked are: loading and its cost, names, undeclared imports, the
    contract of each kind, honesty (frozen or backward counters, wrong units, evidence of no change,
    tokens that are not the model's), leaks, and printing. Exit code 1 if anything was found.
    """
    from joulebench.pluginkit.checking import Checker, read_settings

    def say(text: str) -> None:
        click.echo(text, err=True)

    checker = Checker(read_settings(settings), limit_s, say)
    reports: list[CheckReport] = []
    for report in checker.reports(name):
        reports.append(report)
        if not as_json:
            _echo_report(report)
    faults = sum(len(report.faults) for report in reports)
    if as_json:
        echo_json({"ok": not faults, "plugins": [report.to_json() for report in reports]})
    elif not reports:
        click.echo("only the plugins that come with joulebench are installed; name one to check it")
    else:
        click.echo(f"{_count(len(reports), 'entry point')} checked: {_count(faults, 'fault')}")
    return 1 if faults else 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _echo_report(report: CheckReport) -> None:
    click.echo(click.style(f"\n{report.entry_point}", bold=True) + f" ({report.distribution} {report.version})")
    subjects = dict.fromkeys(result.subject for result in report.results)
    for subject in subjects:
        _echo_subject(subject or "as a whole", [result for result in report.results if result.subject == subject])


def _echo_subject(subject: str, results: list[CheckResult]) -> None:
    """What is wrong in full; what is right as a number; what was skipped by its reason."""
    passed = sum(result.status == "ok" for result in results)
    click.echo(f"  {subject}: {passed} of {len(results)} checks passed")
    reasons = Counter(result.what for result in results if result.status == "skipped")
    for reason, number in reasons.items():
        click.echo(click.style(f"    skipped {number}", fg="yellow") + f": {reason}")
    for result in results:
        if result.status == "ok" and result.what:
            _echo_lines(result.what, "")
        elif result.status == "fault":
            click.echo(click.style("    fault", fg="red", bold=True) + f" {result.check}")
            _echo_lines(result.what, "")
            _echo_lines(result.advice, "→ ")


def _echo_lines(text: str, mark: str) -> None:
    for number, line in enumerate(text.splitlines()):
        click.echo(" " * 6 + (mark if number == 0 else " " * len(mark)) + line)
