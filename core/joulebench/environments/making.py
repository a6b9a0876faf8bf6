"""Makes an environment: a venv, filled once by the user's own pip, and asked whether it serves."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from joulebench.api import Environment
from joulebench.environments.asking import Interpreters
from joulebench.environments.python import OtherPython, environ_for, package_folders
from joulebench.environments.source import pip_arguments
from joulebench.environments.store import EnvironmentRecord, Environments, Needed
from joulebench.errors import InterpreterError
from joulebench.registry.loading import Registry
from joulebench.version import __version__

Say = Callable[[str], None]

#: Lines of pip that say how far it is.
_PROGRESS: Final = ("Collecting ", "Downloading ", "Building ", "Preparing ", "Installing ", "Using cached ")
#: pip names all packages in one line.
_LONGEST_LINE: Final = 100
_TAIL_LINES: Final = 3
#: Read by the venv's interpreter when it starts (Python's manual, module ``site``).
_INHERITING: Final = "inherited.pth"


def make_environment(
    needed: Needed,
    registry: Registry,
    store: Environments,
    base_python: str | None,
    more_arguments: Sequence[str],
    say: Say,
) -> EnvironmentRecord:
    """Make an environment, in place of one of its name; the old one stays until then.

    ``base_python`` is the interpreter that the venv is made of (by default this one),
    ``more_arguments`` go to ``pip install``. Raises :class:`InterpreterError`; nothing is left
    then but pip's log.
    """
    environment = needed.environment
    name = environment.name
    if environment.inherits and base_python is not None:
        raise InterpreterError(
            f"environment '{name}' has the packages of joulebench's own interpreter, which another cannot use",
            hint=f"leave --python out: joulebench env create {name}",
        )
    base = base_python or sys.executable
    python_version = _checked_version(environment, base)
    inherited = package_folders() if environment.inherits else ()
    distributions = () if inherited else dict.fromkeys(("joulebench", *needed.distributions))
    sources = [argument for distribution in distributions for argument in pip_arguments(distribution)]
    start = time.monotonic()
    with store.alone(name):
        store.sweep(name)
        folder = store.root / f"{name}.{secrets.token_hex(4)}"
        try:
            say(f"making a venv of Python {python_version} in {folder}")
            _make_venv(base, folder)
            if inherited:
                _inherit(folder, inherited)
            python = OtherPython(str(folder / "bin" / "python"), name)
            log = store.root / f"{name}.log"
            arguments = [*more_arguments, *sources, *environment.requirements]
            _install(python, arguments, log, name, say)
            _ask(python, needed, registry)
            record = EnvironmentRecord(
                name=name,
                folder=folder.name,
                requirements=environment.requirements,
                joulebench=__version__,
                python=python_version,
                seconds=time.monotonic() - start,
                inherits=inherited,
            )
            store.publish(record)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        store.sweep(name)  # the one that was there before
    return record


def _checked_version(environment: Environment, base: str) -> str:
    """The version of the interpreter, if the environment can be made of it."""
    code = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run([base, "-I", "-c", code], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise InterpreterError(f"cannot be run: exit code {error.returncode}", where=base) from None
    except OSError as error:
        raise InterpreterError(f"cannot be run: {error.strerror}", where=base) from None
    version = done.stdout.strip()
    major, minor = (int(part) for part in version.split(".")[:2])
    least, below = environment.python_least, environment.python_below
    if (least is not None and (major, minor) < least) or (below is not None and (major, minor) >= below):
        raise InterpreterError(
            f"environment '{environment.name}' needs Python {environment.python_range}, and this is {version}",
            where=base,
            hint=f"name another interpreter: joulebench env create {environment.name} --python PATH",
        )
    return version


def _make_venv(base: str, folder: Path) -> None:
    done = subprocess.run(
        [base, "-I", "-m", "venv", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=environ_for(OtherPython(base)),
    )
    if done.returncode != 0:
        raise InterpreterError(
            f"no venv could be made: {_tail(done.stdout + done.stderr)}",
            where=base,
            hint="Debian and Ubuntu have venv in a package of its own: apt install python3-venv",
        )


def _inherit(venv: Path, folders: Sequence[str]) -> None:
    """Put folders of packages behind the venv's own, with what their .pth files add (editable installs).

    Like ``--system-site-packages``, which leads a venv that is made of a venv past that one's packages.
    """
    (site_packages,) = venv.glob("lib/python*/site-packages")
    lines = [f"import site; site.addsitedir({folder!r})" for folder in folders]
    (site_packages / _INHERITING).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _install(python: OtherPython, arguments: Sequence[str], log: Path, name: str, say: Say) -> None:
    """Install by the venv's pip with the user's configuration, telling how far it is."""
    command = [
        python.path,
        "-m",
        "pip",
        "install",
        "--no-input",
        "--progress-bar",
        "off",
        "--disable-pip-version-check",
        *arguments,
    ]
    with (
        log.open("w", encoding="utf-8") as record,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environ_for(python),
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101
        for line in process.stdout:
            record.write(line)
            last_line = line.strip()
            if last_line.startswith(_PROGRESS):
                say(last_line if len(last_line) <= _LONGEST_LINE else f"{last_line[: _LONGEST_LINE - 1]}…")
    if process.returncode != 0:
        raise InterpreterError(
            f"pip could not install what environment '{name}' needs: {_tail(log.read_text(encoding='utf-8'))}",
            where=str(log),
            hint=f"arguments for pip may follow: joulebench env create {name} -- ARGUMENTS",
        )


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return " / ".join((errors or lines)[-_TAIL_LINES:]) or "no message"


def _ask(python: OtherPython, needed: Needed, registry: Registry) -> None:
    """Every plugin that needs the environment must be able to work in it."""
    interpreters = Interpreters()
    for kind, name in needed.plugins:
        place = interpreters.ask(python, kind, registry.make(kind, name))
        if not place.availability.ok:
            raise InterpreterError(
                f"{kind} '{name}' cannot work in the environment that was made for it: {place.availability.reason}"
            )
