"""The command line. Commands are imported when they are called, so that starting is quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn, get_args

import click

from joulebench.api import CommandSection, examples, section_of
from joulebench.commands.helping import short_help
from joulebench.commands.terminal import guarded_output
from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench.registry.commandlist import CommandLine, remember_commands, remembered_commands
from joulebench.version import __version__


class CommandEntry(NamedTuple):
    """A built-in command: its section of the help, the module and attribute that hold it, its line of help."""

    section: CommandSection
    place: str
    text: str


_COMMANDS: Final[dict[str, CommandEntry]] = {
    "doctor": CommandEntry("Start", "doctor:doctor", "Show what this machine can measure, and how to fix the rest"),
    "plan": CommandEntry("Start", "plan:plan", "Show what a profile would measure, and how long it takes"),
    "run": CommandEntry("Start", "run:run", "Measure a profile and write a session"),
    "measure": CommandEntry("Start", "measure:measure", "Measure the energy and time of any command"),
    "report": CommandEntry("Results", "report:report", "Show a session: terminal, Markdown, CSV, JSON or HTML"),
    "profiles": CommandEntry("Upkeep", "profiles:profiles", "List and show profiles and their JSON schema"),
    "models": CommandEntry("Upkeep", "models:models", "List, show, fetch and pin models"),
    "plugin": CommandEntry("Upkeep", "plugin:plugin", "List, write and check plugins"),
    "session": CommandEntry("Upkeep", "session:session", "Verify a session's files, recover a broken one"),
    "artifacts": CommandEntry("Upkeep", "artifacts:artifacts", "List, verify and prune converted models in the cache"),
    "env": CommandEntry("Upkeep", "env:env", "List, make and remove environments of plugins"),
    "selftest": CommandEntry("Upkeep", "selftest:selftest", "Find the smallest difference that this machine can show"),
    "completion": CommandEntry("Upkeep", "completion:completion", "Complete commands and names by TAB"),
}
_SECTIONS: Final = get_args(CommandSection)

#: What click (8.2 and later) raises for a group without a subcommand: its help.
_NO_ARGUMENTS: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named; plugins may add more."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Built-in commands in their order of use, then those of plugins."""
        return [*_COMMANDS, *sorted(set(_plugin_commands()) - set(_COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in _COMMANDS:
            return self._command_of_plugin(ctx, cmd_name)
        module, _, attribute = _COMMANDS[cmd_name].place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"joulebench.commands.{module}"), attribute)
        return command

    @staticmethod
    def _command_of_plugin(ctx: click.Context, name: str) -> click.Command:
        added = _plugin_commands()
        if name not in added:
            raise click.UsageError(f"no such command '{name}'; {unknown_name_hint(name, [*_COMMANDS, *added])}", ctx)
        return added[name]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without importing the built-in ones."""
        rows: dict[str, list[tuple[str, str]]] = {section: [] for section in _SECTIONS}
        for name, entry in _COMMANDS.items():
            rows[entry.section].append((name, entry.text))
        for line in _plugin_lines():
            if line.name not in _COMMANDS:
                rows[line.section].append((line.name, line.text))
        width = max(len(name) for listed in rows.values() for name, _ in listed)
        for section, listed in rows.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), text) for name, text in listed])


def _plugin_commands() -> dict[str, click.Command]:
    from joulebench.registry.loading import default_registry

    return default_registry().commands()


def _plugin_lines() -> list[CommandLine]:
    """The commands of plugins by name, by what is remembered of them where that still holds."""
    remembered = remembered_commands()
    if remembered is not None:
        return remembered
    from joulebench.registry.loading import default_registry

    commands = default_registry().commands()
    lines = [CommandLine(name, section_of(commands[name]), short_help(commands[name])) for name in sorted(commands)]
    files = default_registry().plugin_files()
    if files is not None:
        of_commands = (
            getattr(sys.modules.get(command.callback.__module__), "__file__", None)
            for command in commands.values()
            if command.callback is not None
        )
        remember_commands(lines, [*files, *(file for file in of_commands if file)])
    return lines


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "joulebench doctor                   # what can be measured here",
        "joulebench run quick                # the embedded model on every installed runtime",
        "joulebench report latest --open     # the last session as a page",
        "joulebench advise latest            # which combination to deploy",
    ),
)
@click.version_option(__version__, prog_name="joulebench")
def cli() -> None:
    """Measure the energy, time, memory and temperature of small language models on this machine."""


def main(arguments: Sequence[str] | None = None) -> None:
    """CommandEntry point: turns errors into words and exit codes, once, here."""
    with guarded_output():
        _main(arguments)


def _main(arguments: Sequence[str] | None) -> None:
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="joulebench", standalone_mode=False
        )
    except JoulebenchError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        if isinstance(error, _NO_ARGUMENTS):
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        _fail(_usage_text(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("joulebench: stopped", err=True)
        sys.exit(130)
    except OSError as error:
        # What the machine refuses (no permission, a full disk) is no bug of ours; a fault that is
        # foreseen is a JoulebenchError with a hint instead.
        where = "" if error.filename is None else f"{error.filename}: "
        _fail(where + (error.strerror or str(error)), 2)
    sys.exit(result if isinstance(result, int) else 0)


def _fail(text: str, exit_code: int) -> NoReturn:
    click.echo(f"joulebench: error: {text}", err=True)
    sys.exit(exit_code)


def _usage_text(error: click.ClickException) -> str:
    """A fault in the command line in the same words as any other."""
    what = error.format_message().rstrip(".")
    what = what[:1].lower() + what[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return what
    return f"{what}\n  hint: {context.command_path} --help"
