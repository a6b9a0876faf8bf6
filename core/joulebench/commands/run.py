"""``joulebench run``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import between_text, load_profile, set_option, thread_warnings, trust_option
from joulebench.commands.helping import SessionFolder, output_option
from joulebench.commands.opening import open_page
from joulebench.commands.progress import ProgressDisplay
from joulebench.commands.stopping import SignalStop, stopped_by_signals
from joulebench.errors import JoulebenchError, SessionError

if TYPE_CHECKING:
    from joulebench.plan.cells import Plan
    from joulebench.profile.reading import Profile
    from joulebench.runs.runner import RunResult
    from joulebench.sensors.quiet import QuietGate


@click.command(
    epilog=examples(
        "joulebench run quick",
        "joulebench run quick --set protocol.target=5% -o results --name before",
        "joulebench run mine.toml --no-report && joulebench report latest --open",
        "joulebench run --resume latest",
    )
)
@click.argument("profile", required=False, shell_complete=completing.profiles)
@output_option(
    "Folder in which the session's own folder is made.", default=Path("sessions"), show_default=True, metavar="FOLDER"
)
@click.option("--name", metavar="NAME", help="Name of the session's folder after its time; by default the profile's.")
@set_option
@click.option(
    "--resume",
    type=SessionFolder(),
    shell_complete=completing.sessions,
    metavar="SESSION",
    help="Resume an interrupted session (a folder, or latest).",
)
@trust_option
@click.option(
    "--until-quiet",
    "quiet_minutes",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=60.0,
    metavar="[MINUTES]",
    help="Wait until the machine is quiet, before the first cells and whenever cells change; "
    "at most MINUTES in total (by default 60).",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also if a cell was skipped.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
@click.option("--report/--no-report", default=True, help="Write report.html and print the table.")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser at the end.")
def run(
    profile: str | None,
    output: Path,
    name: str | None,
    overrides: tuple[str, ...],
    resume: Path | None,
    trust: bool,
    quiet_minutes: float | None,
    strict: bool,
    quiet: bool,
    report: bool,
    show: bool,
) -> int:
    """Measure PROFILE (a shipped name or a TOML file) and write a session.

    Ctrl-C and SIGTERM stop a run; it can be resumed. Exit code: 0 all cells ran, 1 some failed (or
    were skipped, with --strict) or none ran, 2 usage error, 130 or 143 stopped.
    """
    if (profile is None) == (resume is None):
        raise click.UsageError("give either a PROFILE or --resume SESSION")
    options = _Options(quiet_minutes, strict, quiet, report, show)
    if resume is not None:
        if name is not None:
            raise click.UsageError("--name is for a new session: a resumed one keeps its folder")
        return _resume(resume, trust, options)
    assert profile is not None  # noqa: S101
    planned = load_profile(profile, overrides, trusted=trust)
    # Only now: they bring Arrow, which a profile that cannot run does not need.
    from joulebench.profile.reading import checked_name
    from joulebench.runs.folder import check_writable
    from joulebench.runs.starting import begin

    named = None if name is None else checked_name(name, "--name")
    check_writable(output)
    progress = ProgressDisplay(quiet=quiet)
    _open(progress, planned.plan)
    started, folder = begin(planned, output, progress, name=named, quiet=_gate(options, planned.profile))
    return _execute(started.execute, folder, progress, options)


@dataclass(frozen=True, slots=True)
class _Options:
    """How a run goes on and ends: what it waits for, what fails it, what it prints, writes and opens."""

    quiet_minutes: float | None
    strict: bool
    quiet: bool
    report: bool
    show: bool


def _open(progress: ProgressDisplay, plan: Plan) -> None:
    total, runnable = len(plan.cells), len(plan.runnable)
    progress.note(f"profile {plan.profile}: {runnable} of {total} cells, {between_text(plan.duration)}")
    for warning in thread_warnings(plan):
        progress.note(f"warning: {warning}")


def _execute(execute: Callable[[], RunResult], folder: Path, progress: ProgressDisplay, options: _Options) -> int:
    from joulebench.errors import NothingRanError

    try:
        with stopped_by_signals():
            result = execute()
    except KeyboardInterrupt as stop:
        progress.end()
        how, code = "stopped", 130
        if isinstance(stop, SignalStop):
            how, code = f"stopped by {stop.name}", stop.exit_code
        with contextlib.suppress(OSError):  # the terminal may be what is gone
            click.echo(f"{how}; what was measured is kept. Resume with: joulebench run --resume {folder}", err=True)
        return code
    except NothingRanError:
        progress.end()
        _finish(folder, options)
        raise
    progress.end()
    click.echo(f"{result.ok} measured, {result.failed} failed, {result.skipped} skipped: {folder}")
    _finish(folder, options)
    return 1 if result.failed or (options.strict and result.skipped) else 0


def _finish(folder: Path, options: _Options) -> None:
    pages = _show(folder) if options.report else []
    if options.show:
        open_page(next((page for page in pages if page.suffix == ".html"), None))


def _show(folder: Path) -> list[Path]:
    """Print the table and write the page, by whatever renderers are installed; the files."""
    from joulebench.registry.loading import default_registry
    from joulebench.session import Session

    registry = default_registry()
    session = Session(folder).snapshot()
    conclusions: list[str] = []
    files: list[Path] = []
    for name in registry.names("renderer"):
        renderer = registry.renderer(name)
        if renderer.by_default and renderer.available().ok:
            try:
                content = renderer.render(session, renderer.default_settings())
                conclusions += filter(None, [renderer.conclusion(session, renderer.default_settings())])
            except JoulebenchError as error:
                click.echo(f"report '{name}': {error}", err=True)
                continue
            except Exception as error:  # a renderer's fault must not hide that the run is done
                click.echo(f"report '{name}' failed: {type(error).__name__}: {error}", err=True)
                continue
            if not renderer.suffix:
                click.echo(content)
                continue
            file = folder / f"report{renderer.suffix}"
            file.write_bytes(content.encode() if isinstance(content, str) else content)
            files.append(file)
    for text in conclusions:
        click.echo(text)
    for file in files:
        click.echo(f"report: {file}")
    return files


def _gate(options: _Options, profile: Profile) -> QuietGate | None:
    from joulebench.sensors.load import MachineLoad
    from joulebench.sensors.quiet import QuietGate

    minutes, share = options.quiet_minutes, profile.measurement.contended
    return None if minutes is None else QuietGate(MachineLoad(), share, 60 * minutes)


def _resume(folder: Path, trust: bool, options: _Options) -> int:
    from joulebench.models.catalogue import read_catalogue
    from joulebench.plan.consent import require_consent
    from joulebench.plan.planner import make_plan
    from joulebench.profile.reading import parse_profile
    from joulebench.registry.loading import default_registry
    from joulebench.runs.folder import is_own_profile, profile_file_of
    from joulebench.runs.instruments import set_up
    from joulebench.runs.resume import resume_plan
    from joulebench.runs.runner import Run
    from joulebench.session import Session

    session = Session(folder)
    if session.row.status == "complete":
        raise SessionError("is complete: there is nothing to resume", where=str(folder))
    file = profile_file_of(folder) or Path.cwd() / "profile.toml"
    registry = default_registry()
    folders = registry.profile_dirs()
    read = parse_profile(session.row.profile_text or "", str(file), file.parent, session.row.overrides or (), folders)
    if not trust and not is_own_profile(profile_file_of(folder), read.text):
        require_consent(read, registry)
    catalogue = read_catalogue(folders)
    plan = resume_plan(make_plan(read, registry, catalogue, folders), session)
    progress = ProgressDisplay(quiet=options.quiet)
    progress.note(f"resuming {folder}")
    instruments = set_up(registry, read, progress.say)
    started = Run(read, plan, registry, catalogue, folder, instruments, progress, session, _gate(options, read))
    return _execute(started.execute, folder, progress, options)
