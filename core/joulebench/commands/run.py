"""``joulebench run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from joulebench.commands.common import between_text, load_profile, set_option, trust_option
from joulebench.commands.progress import Progress
from joulebench.errors import JoulebenchError, SessionError

if TYPE_CHECKING:
    from joulebench.plan.cells import Plan
    from joulebench.run.runner import RunResult
    from joulebench.sensors.quiet import QuietGate


@click.command()
@click.argument("profile", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("sessions"),
    show_default=True,
    help="Folder for the session's own folder.",
)
@set_option
@click.option("--resume", type=click.Path(path_type=Path), metavar="SESSION", help="Resume an interrupted session.")
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
@click.option("--strict", is_flag=True, help="Also exit with 1 if a cell was skipped.")
@click.option("--quiet", is_flag=True, help="Print only the result.")
@click.option("--report/--no-report", default=True, help="Write report.html and print the table.")
def run(
    profile: str | None,
    out: Path,
    overrides: tuple[str, ...],
    resume: Path | None,
    trust: bool,
    quiet_minutes: float | None,
    strict: bool,
    quiet: bool,
    report: bool,
) -> int:
    """Measure PROFILE (a shipped name or a TOML file) and write a session.

    Exit code: 0 all cells ran, 1 some failed (or were skipped, with --strict) or nothing ran,
    2 usage error.
    """
    if (profile is None) == (resume is None):
        raise click.UsageError("give either a PROFILE or --resume SESSION")
    if resume is not None:
        return _resume(resume, trust, quiet_minutes, strict, quiet, report)
    assert profile is not None  # noqa: S101
    from joulebench.profile.shipped import find_profile
    from joulebench.run.folder import check_writable, new_session_folder, note_profile_file
    from joulebench.run.instruments import set_up
    from joulebench.run.runner import Run

    registry, read, catalogue, plan = load_profile(profile, overrides, trusted=trust)
    check_writable(out)
    progress = Progress(quiet=quiet)
    progress.say(_opening(plan))
    instruments = set_up(registry, read, progress.say)
    folder = new_session_folder(out, read.name)
    note_profile_file(folder, find_profile(profile, registry.profile_dirs()).resolve())
    gate = _gate(quiet_minutes, read.measurement.contended)
    started = Run(read, plan, registry, catalogue, folder, instruments, progress, quiet=gate)
    return _execute(started.execute, folder, progress, strict, report)


def _opening(plan: Plan) -> str:
    total, runnable = len(plan.cells), len(plan.runnable)
    return f"profile {plan.profile}: {runnable} of {total} cells, {between_text(plan.duration)}"


def _execute(execute, folder: Path, progress: Progress, strict: bool, report: bool) -> int:  # type: ignore[no-untyped-def]
    from joulebench.errors import NothingRanError

    try:
        result: RunResult = execute()
    except KeyboardInterrupt:
        progress.end()
        click.echo(f"stopped; what was measured is kept. Go on with: joulebench run --resume {folder}", err=True)
        return 130
    except NothingRanError:
        progress.end()
        if report:
            _show(folder)
        raise
    progress.end()
    click.echo(f"{result.ok} measured, {result.failed} failed, {result.skipped} skipped: {folder}")
    if report:
        _show(folder)
    return 1 if result.failed or (strict and result.skipped) else 0


def _show(folder: Path) -> None:
    """Print the table and write the page, by whatever renderers are installed."""
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
            _deliver(content, folder / f"report{renderer.suffix}" if renderer.suffix else None, files)
    for text in conclusions:
        click.echo(text)
    for file in files:
        click.echo(f"report: {file}")


def _deliver(content: str | bytes, file: Path | None, files: list[Path]) -> None:
    if file is None:
        click.echo(content)
        return
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    files.append(file)


def _gate(minutes: float | None, share: float) -> QuietGate | None:
    from joulebench.sensors.load import MachineLoad
    from joulebench.sensors.quiet import QuietGate

    return None if minutes is None else QuietGate(MachineLoad(), share, 60 * minutes)


def _resume(folder: Path, trust: bool, quiet_minutes: float | None, strict: bool, quiet: bool, report: bool) -> int:
    from joulebench.models.catalogue import read_catalogue
    from joulebench.plan.consent import require_consent
    from joulebench.plan.planner import make_plan
    from joulebench.profile.reading import parse_profile
    from joulebench.registry.loading import default_registry
    from joulebench.run.folder import is_own_profile, profile_file_of
    from joulebench.run.instruments import set_up
    from joulebench.run.resume import resume_plan
    from joulebench.run.runner import Run
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
    progress = Progress(quiet=quiet)
    progress.say(f"resuming {folder}")
    instruments = set_up(registry, read, progress.say)
    gate = _gate(quiet_minutes, read.measurement.contended)
    started = Run(read, plan, registry, catalogue, folder, instruments, progress, session, gate)
    return _execute(started.execute, folder, progress, strict, report)
