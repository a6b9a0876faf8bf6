"""Which interpreter does a plugin's work, and what the plugin says of itself there.

A plugin is asked once for each interpreter, by running that.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from joulebench.api import Availability, Backend, Converter, Plugin
from joulebench.environments.python import OtherPython, environ_for
from joulebench.environments.store import Environments
from joulebench.errors import InterpreterError
from joulebench.registry.availability import architectures_of, availability_of, devices_of
from joulebench.registry.loading import Registry
from joulebench.version import __version__

#: An interpreter that takes longer than this to import joulebench and its plugins is given up.
_TIMEOUT_S: Final = 120.0
#: Run by the other interpreter, whatever joulebench it has.
_QUESTION: Final = """
import json, sys
try:
    from joulebench.environments.answering import main
except ImportError:
    try:
        from joulebench.version import __version__ as version
    except ImportError:
        version = None
    print(json.dumps({"joulebench": version, "python": sys.version.split()[0]}))
else:
    main()
"""
_NAMING: Final = "give the path of an interpreter, such as VENV/bin/python"
#: The name at the start of a requirement (PEP 508).
_DISTRIBUTION: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plugin's work is done, and what it says of itself there.

    ``python`` is ``None`` for joulebench's own interpreter. ``devices`` are a backend's, by name;
    ``architectures`` a converter's, where it has a list of them.
    """

    python: OtherPython | None
    availability: Availability
    versions: Mapping[str, str]
    devices: tuple[str, ...] = ()
    architectures: frozenset[str] | None = None


def here(plugin: Plugin) -> Place:
    """What a plugin says of itself in joulebench's own interpreter."""
    devices: list[str] = []
    architectures: frozenset[str] | None = None
    if isinstance(plugin, Backend):
        availability, devices = devices_of(plugin)
    elif isinstance(plugin, Converter):
        availability, architectures = architectures_of(plugin)
    else:
        availability = availability_of(plugin)
    return Place(None, availability, dict(plugin.versions()), tuple(devices), architectures)


def named_python(command: str, folder: Path) -> OtherPython:
    """The interpreter that a profile names: a path (from its folder), or a command's name.

    Raises :class:`InterpreterError` where there is none that can be run.
    """
    if "/" not in command:
        program = shutil.which(command)
        if program is None:
            raise InterpreterError(f"no program '{command}' on the PATH", hint="give the path of an interpreter")
        return OtherPython(program)
    # Not resolved: a venv's interpreter is a link, and finds its packages by where the link lies.
    path = folder / Path(command).expanduser()
    if not path.is_file():
        raise InterpreterError(f"no such file: {path}", hint=_NAMING)
    if not os.access(path, os.X_OK):
        raise InterpreterError(f"is not a program: {path}", hint=_NAMING)
    return OtherPython(os.path.abspath(path))  # noqa: PTH100  resolve() would follow the link


class Interpreters:
    """Answers of plugins by interpreter, each asked for once."""

    def __init__(self, store: Environments | None = None, registry: Registry | None = None) -> None:
        self._store = store or Environments()
        self._registry = registry
        self._here: dict[tuple[str, str], Place] = {}
        self._there: dict[tuple[str, str, str], Place] = {}

    def place(self, kind: str, plugin: Plugin, python: OtherPython | None = None) -> Place:
        """Where a plugin works: in ``python`` if it is given, else where it declares to.

        Raises :class:`InterpreterError` where ``python`` does not serve. An environment that does
        not is a matter of the place's availability.
        """
        if python is not None:
            return self.ask(python, kind, plugin)
        environment = plugin.environment_needs
        if environment is None:
            key = (kind, plugin.name)
            if key not in self._here:
                place = here(plugin)
                provider = {} if self._registry is None else self._registry.provider(kind, plugin.name)
                self._here[key] = replace(place, versions={**provider, **place.versions})
            return self._here[key]
        fault = self._store.fault(environment)
        if fault is None and not self._store.hold(environment.name):
            fault = "is being made by another process"
        if fault is None:
            try:
                return self.ask(self._store.python_of(environment.name), kind, plugin)
            except InterpreterError as error:
                fault = f"does not work: {error.what}"
        missing = Availability.no(
            f"environment '{environment.name}' {fault}", f"joulebench env create {environment.name}"
        )
        return Place(None, missing, {})

    def ask(self, python: OtherPython, kind: str, plugin: Plugin) -> Place:
        """What a plugin says of itself in another interpreter; raises :class:`InterpreterError`."""
        key = (python.path, kind, plugin.name)
        if key not in self._there:
            self._there[key] = _ask(python, kind, plugin)
        return self._there[key]


def _ask(python: OtherPython, kind: str, plugin: Plugin) -> Place:
    environment = plugin.environment_needs
    names = (
        []
        if environment is None
        else [match[0] for requirement in environment.requirements if (match := _DISTRIBUTION.match(requirement))]
    )
    answer = _answer(python, {"plugins": [[kind, plugin.name]], "distributions": names})
    version = answer.get("joulebench")
    if version != __version__:
        has = f"has joulebench {version}" if version else "has no joulebench"
        raise InterpreterError(
            f"{has}, and this is {__version__}",
            where=python.path,
            hint=f"{python.path} -m pip install joulebench=={__version__}",
        )
    try:
        (plugin_state,) = answer["plugins"]
        return Place(
            python,
            Availability(bool(plugin_state["ok"]), plugin_state["reason"], plugin_state["cure"]),
            {**answer["versions"], **plugin_state["versions"]},
            tuple(plugin_state["devices"]),
            None if plugin_state["architectures"] is None else frozenset(plugin_state["architectures"]),
        )
    except (KeyError, TypeError, ValueError):
        raise InterpreterError("answers nonsense", where=python.path) from None


def _answer(python: OtherPython, question: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [python.path, "-I", "-c", _QUESTION],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
            env=environ_for(python),
        )
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or ["no message"]
        raise InterpreterError(f"ended with exit code {error.returncode}: {lines[-1]}", where=python.path) from None
    except subprocess.TimeoutExpired:
        raise InterpreterError(f"gave no answer within {_TIMEOUT_S:g} s", where=python.path) from None
    except (OSError, ValueError, IndexError) as error:
        raise InterpreterError(f"is not a Python interpreter: {error}", where=python.path) from None
    if not isinstance(answer, dict):
        raise InterpreterError("answers nonsense", where=python.path)
    return answer
