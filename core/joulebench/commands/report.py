"""``joulebench report``."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.helping import output_option
from joulebench.commands.opening import open_page
from joulebench.errors import JoulebenchError, ProfileError, SessionError, UnavailableError, unknown_name_hint

if TYPE_CHECKING:
    from joulebench.api import Renderer, Settings
    from joulebench.registry.loading import Registry
    from joulebench.session import Session

_DEFAULT_FORMAT: Final = "terminal"
#: Suffixes of files in which the default format is no surprise.
_OF_TEXT: Final = ("", ".txt", ".text", ".log")


@click.command(
    epilog=examples(
        "joulebench report latest",
        "joulebench report latest --open",
        "joulebench report latest --sort speed --top 5 --columns 'tok/s,net,flags'",
        "joulebench report 'sessions/*-quick' -o machines.html",
        "joulebench report latest -o results.csv",
    )
)
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...", shell_complete=completing.sessions)
@click.option(
    "--format",
    "name",
    metavar="FORMAT",
    shell_complete=completing.renderers,
    help="terminal, markdown, csv, json, jsonl, html, perfetto, melodi, analysis, card, chart, or a plugin's renderer. "
    "By default that of the suffix of --output, otherwise terminal.",
)
@output_option("File to write.", metavar="FILE")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser; without -o, report.html of SESSION.")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="NAME",
    shell_complete=completing.cells,
    help="Show only this cell, by its label or id. Repeatable.",
)
@click.option(
    "--sort", metavar="BY", help="Order of the table of cells: energy, speed, memory, size, quality or profile."
)
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="Show the best N cells of each model and workload."
)
@click.option(
    "--columns", metavar="NAMES", help="Columns of the table of cells, by their headings with commas between."
)
@click.option("-v", "--verbose", is_flag=True, default=None, help="Show every note, not only the severest.")
@click.option("--option", "given", multiple=True, metavar="KEY=VALUE", help="Set an option of the format. Repeatable.")
@click.option("--debug", is_flag=True, help="Print the traceback if the report fails by a defect.")
def report(
    sessions: tuple[str, ...],
    name: str | None,
    output: Path | None,
    show: bool,
    cells: tuple[str, ...],
    given: tuple[str, ...],
    debug: bool,
    **view: str | int | bool | None,
) -> None:
    """Show a session, finished or not, or several in one report.

    SESSION is a session's folder, latest (the last one in sessions/), a folder of several, a
    pattern in quotes, or any address that fsspec supports (s3://, gs://, memory://, …). The options
    of each format (--option) are listed in docs/profiles.md, under Reports.
    """
    from joulebench.commands.defects import defect_of
    from joulebench.commands.terminal import write_document
    from joulebench.profile.values import complete
    from joulebench.registry.loading import default_registry
    from joulebench.session.places import open_sessions

    registry = default_registry()
    if show and output is None:
        output = _page_of(sessions)
    name = name or _format_of(output, registry)
    renderer = registry.renderer(name)
    availability = renderer.available()
    if not availability.ok:
        raise UnavailableError(f"the '{name}' report cannot be made: {availability.reason}", hint=availability.cure)
    chosen = {key: value for key, value in view.items() if value is not None}
    for key in chosen:
        if key not in {option.name for option in renderer.options}:
            raise click.UsageError(f"the format '{name}' has no --{key}")
    values = {**dict(_pair(text) for text in given), **chosen}
    settings = complete(renderer.options, values, lambda key: f"--{key}" if key in chosen else f"--option {key}")
    read = open_sessions(sessions, lambda text: click.echo(text, err=True))
    if cells:
        read = _with_cells(read, cells)
    # Large sessions make many values and no circles of them; looking for some would take a tenth of the time.
    gc.disable()
    try:
        content = _rendered(renderer, read, settings)
    except (JoulebenchError, OSError):
        raise
    except Exception as error:
        if debug:
            raise
        doing = f"the '{name}' report of {', '.join(str(session.path) for session in read)}"
        raise defect_of(error, registry.distribution_of("renderer", name), doing) from error
    finally:
        gc.enable()
    write_document(content, output)
    if show:
        open_page(output)


def _page_of(places: tuple[str, ...]) -> Path:
    """Where the page of the one session lies that is to be opened."""
    from joulebench.session.files import SESSION_FILE
    from joulebench.session.places import named_place

    folder = Path(named_place(places[0]))
    if len(places) > 1 or not (folder / SESSION_FILE).exists():
        raise click.UsageError("--open needs --output FILE for anything but one session's folder")
    return folder / "report.html"


def _format_of(output: Path | None, registry: Registry) -> str:
    """The format that writes files of this suffix, the one that is named after it before others."""
    suffix = "" if output is None else output.suffix.lower()
    names = [name for name in registry.names("renderer") if suffix and registry.renderer(name).suffix == suffix]
    if suffix not in _OF_TEXT and not names:
        click.echo(f"no format writes {suffix} files: {output} will be text (--format names another)", err=True)
    named = suffix.removeprefix(".")
    return named if named in names else next(iter(names), _DEFAULT_FORMAT)


def _rendered(renderer: Renderer, sessions: list[Session], settings: Settings) -> str | bytes:
    if len(sessions) == 1:
        return renderer.render(sessions[0], settings)
    return renderer.render_many(sessions, settings)


def _with_cells(sessions: list[Session], names: tuple[str, ...]) -> list[Session]:
    """The sessions that have any of these cells, with those alone."""
    labels = [session.labels() for session in sessions]
    known = {name for label in labels for pair in label.items() for name in pair}
    for name in names:
        if name not in known:
            raise SessionError(
                f"no cell is named '{name}'",
                where="--cell",
                hint=unknown_name_hint(name, {label for names in labels for label in names.values()}),
            )
    return [
        session.only(names) for session, own in zip(sessions, labels, strict=True) if {*own, *own.values()} & set(names)
    ]


def _pair(text: str) -> tuple[str, object]:
    import tomllib

    key, equals, raw = text.partition("=")
    if not equals:
        raise ProfileError(f"'{text}' is not KEY=VALUE", where="--option")
    try:
        return key, tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return key, raw
