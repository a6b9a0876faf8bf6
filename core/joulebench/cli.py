"""The command line. Commands are imported when they are called, so that starting is quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final

import click

from joulebench import __version__
from joulebench.errors import JoulebenchError

#: Command names, the module and attribute that holds each, and its line of help.
_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "doctor": (
        "doctor:doctor",
        "Say what this machine can measure, and what to do about the rest.",
    ),
    "plan": (
        "plan:plan",
        "Show what a profile would measure here, and what it would skip and why.",
    ),
    "run": ("run:run", "Measure a profile and write a session."),
    "report": ("report:report", "Render a session: terminal, Markdown, CSV, JSON or HTML."),
    "models": ("models:models", "List, show and fetch models."),
    "profiles": ("profiles:profiles", "List and show profiles, and their JSON schema."),
    "plugin": ("plugin:plugin", "List plugins, the broken ones with their error."),
    "session": ("session:session", "Verify a session's files and recover a broken one."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named; plugins may add more."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Built-in commands in their order of use, then those of plugins."""
        return [*_COMMANDS, *sorted(set(_plugin_commands()) - set(_COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in _COMMANDS:
            return _plugin_commands().get(cmd_name)
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(
            importlib.import_module(f"joulebench.commands.{module}"), attribute
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing the built-in ones."""
        rows = [(name, text) for name, (_, text) in _COMMANDS.items()]
        for name, command in sorted(_plugin_commands().items()):
            if name not in _COMMANDS:
                rows.append((name, command.get_short_help_str()))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _plugin_commands() -> dict[str, click.Command]:
    from joulebench.registry import default_registry

    return default_registry().commands()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="joulebench")
def cli() -> None:
    """What a small language model costs on this machine: joules, seconds, bytes, degrees.

    Start with 'joulebench doctor', then 'joulebench run quick'.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: turns errors into words and exit codes, once, here."""
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="joulebench",
            standalone_mode=False,
        )
    except JoulebenchError as error:
        click.echo(f"joulebench: error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("joulebench: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe (head, less) has left: nothing more to say, and no complaint.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(result if isinstance(result, int) else 0)
