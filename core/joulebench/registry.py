"""Finds and holds plugins. The only module that touches pluggy's manager.

An entry point in the group ``joulebench`` names a module with hook implementations. A plugin that
fails to import, states another API version or breaks its contract is listed as broken with its
error, and everything else works.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pluggy

from joulebench import hookspecs
from joulebench.api import (
    API_VERSION,
    ArtifactTechnique,
    Backend,
    Converter,
    FinishedCell,
    Plugin,
    Probe,
    Renderer,
    RuntimeTechnique,
    Technique,
    Workload,
)
from joulebench.errors import PluginError, UnknownPluginError, unknown_name_hint

if TYPE_CHECKING:
    import click

ENTRY_POINT_GROUP: Final = "joulebench"

#: Hook that provides each kind, and the classes that it must return.
_KINDS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "backend": ("joulebench_backends", (Backend,)),
    "technique": ("joulebench_techniques", (ArtifactTechnique, RuntimeTechnique)),
    "converter": ("joulebench_converters", (Converter,)),
    "probe": ("joulebench_probes", (Probe,)),
    "renderer": ("joulebench_renderers", (Renderer,)),
    "workload": ("joulebench_workloads", (Workload,)),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin module that works: its entry point and distribution, and what it provides."""

    entry_point: str
    distribution: str
    version: str
    provides: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin that was left out, and why."""

    entry_point: str
    distribution: str
    error: str


@dataclass(frozen=True, slots=True)
class _Registered:
    plugin_class: type[Any]
    distribution: str
    entry_point: str


class Registry:
    """All plugins by kind and name."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._classes: dict[str, dict[str, _Registered]] = {kind: {} for kind in _KINDS}
        self.loaded: list[Loaded] = []
        self.broken: list[Broken] = []

    # -- loading ---------------------------------------------------------------------------

    def load_entry_points(self) -> None:
        """Load every entry point of the group, in order of name, isolating failures."""
        points = sorted(
            metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name
        )
        for point in points:
            distribution = point.dist.name if point.dist else "unknown"
            version = point.dist.version if point.dist else ""
            try:
                self.add(point.load(), point.name, distribution, version)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # a plugin may raise anything, SystemExit included
                self.broken.append(Broken(point.name, distribution, _describe(error)))

    def add(
        self, plugin: object, entry_point: str, distribution: str = "", version: str = ""
    ) -> None:
        """Register one plugin module or object; raises :class:`PluginError` if it is unfit."""
        stated = getattr(plugin, "JOULEBENCH_API", None)
        if stated != API_VERSION:
            raise PluginError(
                f"written for plugin API {stated}; this joulebench has {API_VERSION}"
                if stated is not None
                else "does not state the plugin API that it was written for",
                where=entry_point,
                hint=f"set JOULEBENCH_API = {API_VERSION} in the module after checking its hooks",
            )
        provided = _provided_by(plugin, entry_point)
        self._refuse_duplicates(provided, entry_point, distribution)
        self._manager.register(plugin, name=entry_point)
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._manager.unregister(plugin)
            raise PluginError(str(error), where=entry_point) from None
        for kind, plugin_class in provided:
            self._classes[kind][plugin_class.name] = _Registered(
                plugin_class, distribution, entry_point
            )
        names = tuple((kind, plugin_class.name) for kind, plugin_class in provided)
        self.loaded.append(Loaded(entry_point, distribution, version, names))

    def _refuse_duplicates(
        self, provided: list[tuple[str, type[Plugin]]], entry_point: str, distribution: str
    ) -> None:
        for kind, plugin_class in provided:
            other = self._classes[kind].get(plugin_class.name)
            if other is not None:
                raise PluginError(
                    f"{kind} '{plugin_class.name}' is provided by both "
                    f"'{other.distribution}' ({other.entry_point}) and "
                    f"'{distribution}' ({entry_point}); the first one is kept",
                    hint=f"uninstall one of the two distributions, or rename the {kind}",
                )

    # -- looking up ------------------------------------------------------------------------

    def backend(self, name: str) -> Backend:
        """The backend of that name."""
        return self._make("backend", name)  # type: ignore[no-any-return]

    def technique(self, name: str) -> Technique:
        """The technique of that name."""
        return self._make("technique", name)  # type: ignore[no-any-return]

    def converter(self, name: str) -> Converter:
        """The converter of that name."""
        return self._make("converter", name)  # type: ignore[no-any-return]

    def probe(self, name: str) -> Probe:
        """The probe of that name."""
        return self._make("probe", name)  # type: ignore[no-any-return]

    def renderer(self, name: str) -> Renderer:
        """The renderer of that name."""
        return self._make("renderer", name)  # type: ignore[no-any-return]

    def workload(self, name: str) -> Workload:
        """The workload of that name."""
        return self._make("workload", name)  # type: ignore[no-any-return]

    def names(self, kind: str) -> list[str]:
        """Names of the plugins of a kind, sorted."""
        return sorted(self._classes[kind])

    def distribution_of(self, kind: str, name: str) -> str:
        """The distribution that provides a plugin."""
        return self._classes[kind][name].distribution

    def _make(self, kind: str, name: str) -> Any:
        registered = self._classes[kind].get(name)
        if registered is None:
            raise UnknownPluginError(
                f"unknown {kind} '{name}'", hint=self._unknown_hint(kind, name)
            )
        return registered.plugin_class()

    def _unknown_hint(self, kind: str, name: str) -> str:
        hint = unknown_name_hint(name, self._classes[kind])
        for known in self.names(kind):
            availability = self._classes[kind][known].plugin_class().available()
            if not availability.ok and availability.cure:
                hint += f"; {known} needs: {availability.cure}"
        if self.broken:
            names = ", ".join(item.entry_point for item in self.broken)
            hint += f"; broken plugins (see 'joulebench plugin list'): {names}"
        return hint

    # -- hooks with other results ------------------------------------------------------------

    def profile_dirs(self) -> list[Path]:
        """Folders with shipped profiles, models and texts."""
        found: list[Path] = []
        for folders in self._manager.hook.joulebench_profile_dirs():
            found.extend(Path(folder) for folder in folders)
        return found

    def commands(self) -> dict[str, click.Command]:
        """Commands that plugins add."""
        merged: dict[str, click.Command] = {}
        for commands in self._manager.hook.joulebench_commands():
            merged.update(commands)
        return merged

    def cell_finished(self, cell: FinishedCell, report: Callable[[str], None]) -> None:
        """Tell every observer; what one of them raises goes to ``report``."""
        for implementation in self._manager.hook.joulebench_cell_finished.get_hookimpls():
            try:
                implementation.function(cell)
            except Exception as error:
                report(f"observer {implementation.plugin_name}: {_describe(error)}")


def _provided_by(plugin: object, entry_point: str) -> list[tuple[str, type[Plugin]]]:
    """Call the class-returning hooks of one plugin, checking what they return."""
    provided: list[tuple[str, type[Plugin]]] = []
    for kind, (hook_name, bases) in _KINDS.items():
        hook = getattr(plugin, hook_name, None)
        if hook is None:
            continue
        classes = hook()
        if not isinstance(classes, (list, tuple)):
            raise PluginError(f"{hook_name} must return a list of classes", where=entry_point)
        for plugin_class in classes:
            _check_class(plugin_class, bases, hook_name, entry_point)
            provided.append((kind, plugin_class))
    return provided


def _check_class(
    plugin_class: object, bases: tuple[type, ...], hook_name: str, entry_point: str
) -> None:
    expected = " or ".join(base.__name__ for base in bases)
    if not (inspect.isclass(plugin_class) and issubclass(plugin_class, bases)):
        raise PluginError(
            f"{hook_name} returned {plugin_class!r}, which is no {expected} class",
            where=entry_point,
        )
    name = getattr(plugin_class, "name", None)
    if not isinstance(name, str) or not name or not name.replace("-", "_").isidentifier():
        raise PluginError(
            f"{plugin_class.__name__}.name must be a word of letters, digits, - and _",
            where=entry_point,
        )
    if inspect.isabstract(plugin_class):
        missing = ", ".join(sorted(getattr(plugin_class, "__abstractmethods__", ())))
        raise PluginError(
            f"{plugin_class.__name__} does not implement: {missing}", where=entry_point
        )


def _describe(error: BaseException) -> str:
    if isinstance(error, PluginError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    trace = error.__traceback__
    last = None
    while trace is not None:
        last, trace = trace, trace.tb_next
    if last is not None:
        frame = last.tb_frame
        text += f" ({Path(frame.f_code.co_filename).name}:{last.tb_lineno})"
    return text


@cache
def default_registry() -> Registry:
    """The registry of the installed plugins, loaded once in a process."""
    registry = Registry()
    registry.load_entry_points()
    return registry


def provided_names(registry: Registry) -> Mapping[str, list[str]]:
    """Names of all plugins by kind."""
    return {kind: registry.names(kind) for kind in _KINDS}
