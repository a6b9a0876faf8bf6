"""``joulebench completion``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from joulebench.api import examples
from joulebench.commands.helping import CommandGroup
from joulebench.errors import JoulebenchError

SHELLS: Final = ("bash", "zsh", "fish")
_PROGRAM: Final = "joulebench"
_VARIABLE: Final = "_JOULEBENCH_COMPLETE"


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


#: Where each shell looks for completions of a user's own.
_FILES: Final[dict[str, Callable[[], Path]]] = {
    "bash": lambda: _data_home() / "bash-completion/completions" / _PROGRAM,
    "zsh": lambda: _data_home() / "zsh/site-functions" / f"_{_PROGRAM}",
    "fish": lambda: _config_home() / "fish/completions" / f"{_PROGRAM}.fish",
}
#: And what makes it look there, where it does not by itself.
_ENABLED_BY: Final[dict[str, Callable[[Path], str]]] = {
    "bash": lambda file: f"new shells load it if bash-completion is installed; without, add to ~/.bashrc:\n  . {file}",
    "zsh": lambda file: f"add to ~/.zshrc, before compinit:\n  fpath=({file.parent} $fpath)",
    "fish": lambda file: "new shells load it by themselves",
}

_shell_argument = click.argument("shell", type=click.Choice(SHELLS), required=False, metavar="[SHELL]")


@click.group(cls=CommandGroup)
def completion() -> None:
    """Completion of commands, options, profiles, models, sessions, cells and plugins by TAB."""


@completion.command(epilog=examples("joulebench completion show bash", ". <(joulebench completion show bash)"))
@_shell_argument
def show(shell: str | None) -> None:
    """Print the script that SHELL (by default the one in $SHELL) has to read."""
    click.echo(_script(_chosen(shell)), nl=False)


@completion.command(epilog=examples("joulebench completion install", "joulebench completion install fish"))
@_shell_argument
def install(shell: str | None) -> None:
    """Write the script where SHELL (by default the one in $SHELL) looks for it.

    One file in your home folder is written; none that exists is changed but an earlier one of this.
    """
    chosen = _chosen(shell)
    file = _FILES[chosen]()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_script(chosen), encoding="utf-8")
    click.echo(f"wrote {file}\n{_ENABLED_BY[chosen](file)}")


def _chosen(shell: str | None) -> str:
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise JoulebenchError(
            f"no completion for the shell '{name}'", where="$SHELL", hint=f"name one: {', '.join(SHELLS)}"
        )
    return name


def _script(shell: str) -> str:
    from click.shell_completion import get_completion_class

    program = click.get_current_context().find_root().command
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101  click knows all of SHELLS
    return made(program, {}, _PROGRAM, _VARIABLE).source()
