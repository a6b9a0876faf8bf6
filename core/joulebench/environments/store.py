"""Environments that joulebench has made for plugins whose libraries exclude those beside it.

Each is a venv in the user's cache. Its folder (``NAME.TOKEN``) is made under a name that is never
used again, and the record beside it (``NAME.json``) is put in place by one rename when all is
done: a folder that no record names is half made, and does not count. A process that uses or makes
an environment holds ``NAME.lock``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from joulebench.api import ENVIRONMENT_NAME, Environment
from joulebench.backendkit import cache_folder
from joulebench.environments.python import OtherPython, package_folders
from joulebench.errors import InterpreterError, PluginError, unknown_name_hint
from joulebench.registry.loading import Registry
from joulebench.version import __version__

#: Kinds of plugins whose work may be done in an environment.
KINDS: Final = ("backend", "converter", "technique")
_RECORD: Final = ".json"
_LOCK: Final = ".lock"

#: Locks of the environments that this process uses, until it ends.
_HELD: dict[Path, int] = {}


@dataclass(frozen=True, slots=True)
class Needed:
    """An environment that installed plugins declare.

    ``plugins`` are (kind, name); ``distributions`` provide them and go into it as well.
    """

    environment: Environment
    plugins: tuple[tuple[str, str], ...]
    distributions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """What is in an environment. ``folder`` is the name of its folder.

    ``inherits`` are the folders of packages that it has behind its own; they are joulebench's.
    """

    name: str
    folder: str
    requirements: tuple[str, ...]
    joulebench: str
    python: str
    seconds: float
    inherits: tuple[str, ...] = ()


def needed_environments(registry: Registry) -> dict[str, Needed]:
    """The environments of all installed plugins, by name.

    Raises :class:`PluginError` where two plugins mean different things by one name.
    """
    needed: dict[str, Needed] = {}
    for kind in KINDS:
        for name in registry.names(kind):
            environment = registry.make(kind, name).environment_needs
            if environment is None:
                continue
            before = needed.get(environment.name)
            if before is not None and before.environment != environment:
                other = before.plugins[0][1]
                raise PluginError(
                    f"{kind} '{name}' and '{other}' declare different environments under the name '{environment.name}'",
                    hint="uninstall one of the two plugins, or rename its environment",
                )
            plugins = (*(before.plugins if before else ()), (kind, name))
            providers = (*(before.distributions if before else ()), registry.distribution_of(kind, name))
            needed[environment.name] = Needed(environment, plugins, tuple(dict.fromkeys(providers)))
    return needed


def checked_name(name: str) -> str:
    """The name, if an environment can have it: it becomes a part of a path."""
    if not ENVIRONMENT_NAME.fullmatch(name):
        raise InterpreterError(
            f"{name!r} cannot be the name of an environment", hint="'joulebench env list' shows their names"
        )
    return name


class Environments:
    """The environments in a cache folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or cache_folder()) / "environments"

    # -- what there is -------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Names of all that is there, whole or not."""
        if not self.root.is_dir():
            return []
        parts = [entry.name.partition(".") for entry in self.root.iterdir()]
        return sorted({name for name, _, rest in parts if rest not in ("lock", "log")})

    def folders(self, name: str) -> list[Path]:
        """The folders of an environment: the one in use, and what was left half made."""
        return [entry for entry in sorted(self.root.glob(f"{checked_name(name)}.*")) if entry.is_dir()]

    def record(self, name: str) -> EnvironmentRecord | None:
        """What is in an environment; ``None`` where none has been finished.

        Raises :class:`InterpreterError` where its record is damaged.
        """
        file = self.record_file(name)
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            lists = {"requirements": tuple(data["requirements"]), "inherits": tuple(data.get("inherits", ()))}
            record = EnvironmentRecord(**{**data, **lists})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InterpreterError(
                f"has a damaged record ({type(error).__name__})", where=str(file), hint=f"joulebench env create {name}"
            ) from None
        if record.name != name or record.folder not in {folder.name for folder in self.folders(name)}:
            raise InterpreterError("has lost its folder", where=str(file), hint=f"joulebench env create {name}")
        return record

    def record_file(self, name: str) -> Path:
        """Where the record of an environment is (or will be)."""
        return self.root / f"{checked_name(name)}{_RECORD}"

    def fault(self, environment: Environment) -> str | None:
        """Why an environment cannot be used as it is, or ``None``."""
        try:
            record = self.record(environment.name)
        except InterpreterError as error:
            return error.what
        if record is None:
            return "is half made" if self.folders(environment.name) else "is missing"
        if record.requirements != environment.requirements:
            return f"was made for other requirements ({', '.join(record.requirements)})"
        if record.inherits != (package_folders() if environment.inherits else ()):
            return "was made for another installation of joulebench"
        # What is inherited is of the version that is here.
        if record.joulebench != __version__ and not environment.inherits:
            return f"has joulebench {record.joulebench}, and this is {__version__}"
        if not Path(self.python_of(environment.name).path).exists():
            return "has lost its interpreter"
        return None

    def python_of(self, name: str) -> OtherPython:
        """The interpreter of a finished environment; raises where there is none."""
        record = self.record(name)
        if record is None:
            raise InterpreterError("is missing", where=name, hint=f"joulebench env create {name}")
        return OtherPython(str(self.root / record.folder / "bin" / "python"), name)

    # -- using, making, removing ---------------------------------------------------------------

    def hold(self, name: str) -> bool:
        """Keep an environment from being removed or made anew as long as this process lives.

        Whether that could be had: not while another process makes it.
        """
        path = self.root / f"{checked_name(name)}{_LOCK}"
        if path in _HELD:
            return True
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:  # a cache that is shared read-only is not changed by anybody here
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        except OSError:  # a file system without locks
            os.close(lock)
            return True
        _HELD[path] = lock
        return True

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """While nobody else uses or makes the environment; raises where somebody does."""
        path = self.root / f"{checked_name(name)}{_LOCK}"
        self.root.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise InterpreterError(
                f"environment '{name}' is in use or being made by another process", hint="wait until that one has ended"
            ) from None
        try:
            yield
        finally:
            os.close(lock)

    def busy(self, name: str) -> bool:
        """Whether another process uses or makes the environment."""
        try:
            with self.alone(name):
                return False
        except InterpreterError:
            return True

    def publish(self, record: EnvironmentRecord) -> None:
        """Make a whole folder the environment of its name."""
        file = self.record_file(record.name)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=self.root, prefix=f"{record.name}.", suffix=".part", delete=False
        ) as sink:
            json.dump(asdict(record), sink, indent=1)
        Path(sink.name).replace(file)

    def sweep(self, name: str) -> None:
        """Remove what belongs to an environment and is not in use. Within :meth:`alone`."""
        try:
            record = self.record(name)
        except InterpreterError:
            record = None
        for folder in self.folders(name):
            if record is None or folder.name != record.folder:
                shutil.rmtree(folder, ignore_errors=True)
        for part in self.root.glob(f"{name}.*.part"):
            part.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove an environment, whole or half made."""
        if not self.folders(name) and not self.record_file(name).exists():
            there = [name for name in self.names() if ENVIRONMENT_NAME.fullmatch(name)]
            raise InterpreterError(f"no environment '{name}' has been made", hint=unknown_name_hint(name, there))
        with self.alone(name):
            # Its record first: without it nothing counts, even if this is killed now.
            self.record_file(name).unlink(missing_ok=True)
            (self.root / f"{name}.log").unlink(missing_ok=True)
            self.sweep(name)
