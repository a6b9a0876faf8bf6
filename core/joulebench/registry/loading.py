"""Finds and holds plugins. The only module that touches pluggy's manager.

An entry point in the group ``joulebench`` names a module with hook implementations. A plugin that
fails to import, states another API version or breaks its contract is listed as broken with its
error, and everything else works.

Modules are imported at once, the classes that they provide when the first one is asked for:
``--help`` needs the modules only.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pluggy

from joulebench import hookspecs
from joulebench.api import API_VERSION, Backend, Converter, FinishedCell, Plugin, Probe, Renderer, Technique, Workload
from joulebench.errors import PluginError, UnknownPluginError, unknown_name_hint
from joulebench.registry.availability import availability_of
from joulebench.registry.classes import KINDS, provided_by
from joulebench.registry.commandlist import WITHOUT_VARIABLE
from joulebench.registry.discovery import SHIPPED, Source, Unreadable, find_sources
from joulebench.registry.isolation import describe_failure, in_time

if TYPE_CHECKING:
    import click

#: A plugin that takes longer than this to be imported is left out, in seconds.
IMPORT_LIMIT_S: Final = 20.0


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
    source: Source


class Registry:
    """All plugins by kind and name."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._classes: dict[str, dict[str, _Registered]] = {kind: {} for kind in KINDS}
        self._sources: dict[str, Source] = {}
        self._pending: list[tuple[object, Source]] = []
        self._loaded: list[Loaded] = []
        self._broken: list[Broken] = []

    # -- loading ---------------------------------------------------------------------------

    def load_entry_points(self) -> None:
        """Import every entry point of the group, in order, isolating failures."""
        without = set(os.environ.get(WITHOUT_VARIABLE, "").split(","))
        for source in find_sources():
            if isinstance(source, Unreadable):
                self._broken.append(Broken("entry_points.txt", source.distribution, source.error))
                continue
            left_out = source.entry_point in without
            fault = f"left out, as {WITHOUT_VARIABLE} asks" if left_out else self._fatal_fault(source)
            if fault is not None:
                self._broken.append(Broken(source.entry_point, source.distribution, fault))
                continue
            with self._isolating(source):
                assert source.point is not None  # noqa: S101  it was found as one
                plugin: object = source.point.load()
                self._admit(plugin, source)
                self._pending.append((plugin, source))

    @staticmethod
    def _fatal_fault(source: Source) -> str | None:
        """How importing a foreign plugin would end this process, if it would."""
        if source.distribution == SHIPPED:
            return None
        from joulebench.registry.trial import fatal_fault

        return fatal_fault(source, IMPORT_LIMIT_S)

    def add(self, plugin: object, entry_point: str, distribution: str = "", version: str = "") -> None:
        """Register one plugin module or object; raises :class:`PluginError` if it is unfit."""
        self._read_pending()
        source = Source(entry_point, distribution, version)
        self._admit(plugin, source)
        self._read_classes(plugin, source)

    @property
    def loaded(self) -> list[Loaded]:
        """Plugin modules that work, in order of loading."""
        self._read_pending()
        return self._loaded

    @property
    def broken(self) -> list[Broken]:
        """Plugins that were left out, each with its error."""
        self._read_pending()
        return self._broken

    def _admit(self, plugin: object, source: Source) -> None:
        """Check what a module states of itself and register its hooks."""
        stated = getattr(plugin, "JOULEBENCH_API", None)
        if stated != API_VERSION:
            raise PluginError(
                f"written for plugin API {stated}; this joulebench has {API_VERSION}"
                if stated is not None
                else "does not state the plugin API that it was written for",
                where=source.entry_point,
                hint=f"set JOULEBENCH_API = {API_VERSION} in the module after checking its hooks",
            )
        self._manager.register(plugin, name=source.entry_point)
        self._sources[source.entry_point] = source
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._manager.unregister(plugin)
            raise PluginError(str(error), where=source.entry_point) from None

    def _read_pending(self, kind: str | None = None) -> None:
        """Take the classes of admitted plugins: of all, or of those that decide what there is of a kind."""
        pending = self._pending if kind is None else _deciding(kind, self._pending)
        self._pending = [item for item in self._pending if item not in pending]
        for plugin, source in pending:
            with self._isolating(source):
                self._read_classes(plugin, source)

    def _read_classes(self, plugin: object, source: Source) -> None:
        """Take the classes of an admitted plugin; an unfit one loses its hooks again."""
        try:
            provided = provided_by(plugin, source.entry_point)
            for number, (kind, plugin_class) in enumerate(provided):
                self._refuse_duplicate(kind, plugin_class, source, provided[:number])
        except BaseException:
            self._manager.unregister(plugin)
            raise
        for kind, plugin_class in provided:
            self._classes[kind][plugin_class.name] = _Registered(plugin_class, source)
        names = tuple((kind, plugin_class.name) for kind, plugin_class in provided)
        self._loaded.append(Loaded(source.entry_point, source.distribution, source.version, names))

    def _refuse_duplicate(
        self, kind: str, plugin_class: type[Plugin], source: Source, earlier: list[tuple[str, type[Plugin]]]
    ) -> None:
        name = plugin_class.name
        registered = self._classes[kind].get(name)
        if registered is not None:
            other = registered.source
            raise PluginError(
                f"{kind} '{name}' is provided by both "
                f"'{other.distribution}' ({other.entry_point}) and "
                f"'{source.distribution}' ({source.entry_point}); the first one is kept",
                hint=f"uninstall one of the two distributions, or rename the {kind}",
            )
        if any((kind, name) == (earlier_kind, plugin.name) for earlier_kind, plugin in earlier):
            raise PluginError(f"provides {kind} '{name}' twice", where=source.entry_point)

    @contextlib.contextmanager
    def _isolating(self, source: Source) -> Iterator[None]:
        """A plugin's own code: it may fail, hang or print, and nobody else is harmed."""
        try:
            with contextlib.redirect_stdout(sys.stderr), in_time(IMPORT_LIMIT_S):
                yield
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            broken = Broken(source.entry_point, source.distribution, describe_failure(error))
            if broken not in self._broken:  # a hook that fails is asked again by the next command
                self._broken.append(broken)

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
        self._read_pending(kind)
        return sorted(self._classes[kind])

    def distribution_of(self, kind: str, name: str) -> str:
        """The distribution that provides a plugin."""
        self._read_pending(kind)
        return self._classes[kind][name].source.distribution

    def provider(self, kind: str, name: str) -> dict[str, str]:
        """The distribution that provides a plugin and its version, as a plugin states its libraries'."""
        self._read_pending(kind)
        source = self._classes[kind][name].source
        return {source.distribution: source.version} if source.version else {}

    def make(self, kind: str, name: str) -> Plugin:
        """The plugin of that kind and name, where the kind is not known beforehand."""
        return self._make(kind, name)  # type: ignore[no-any-return]

    def _make(self, kind: str, name: str) -> Any:
        self._read_pending(kind)
        registered = self._classes[kind].get(name)
        if registered is None:
            raise UnknownPluginError(f"unknown {kind} '{name}'", hint=self._unknown_hint(kind, name))
        try:
            return registered.plugin_class()
        except Exception as error:  # a plugin may raise anything
            raise PluginError(
                f"{kind} '{name}' cannot be made: {describe_failure(error)}", where=registered.source.distribution
            ) from error

    def _unknown_hint(self, kind: str, name: str) -> str:
        self._read_pending()
        hint = unknown_name_hint(name, self._classes[kind])
        for known in self.names(kind):
            availability = availability_of(self._make(kind, known))
            if not availability.ok and availability.cure:
                hint += f"; {known} needs: {availability.cure}"
        if self._broken:
            names = ", ".join(item.entry_point for item in self._broken)
            hint += f"; broken plugins (see 'joulebench plugin list'): {names}"
        return hint

    # -- hooks with other results ------------------------------------------------------------

    def profile_dirs(self) -> list[Path]:
        """Folders with shipped profiles, models and texts, by name of the entry point."""
        folders: list[Path] = []
        for source, implementation in self._implementations("joulebench_profile_dirs"):
            with self._isolating(source):
                folders.extend(Path(folder) for folder in implementation())
        return folders

    def commands(self) -> dict[str, click.Command]:
        """Commands that plugins add; of two with one name, the first is kept."""
        merged: dict[str, click.Command] = {}
        for source, implementation in self._implementations("joulebench_commands"):
            with self._isolating(source):
                for name, command in implementation().items():
                    if merged.setdefault(name, command) is not command:
                        raise PluginError(f"another plugin already adds the command '{name}'")
        return merged

    def plugin_files(self) -> list[str] | None:
        """The modules that have been imported; ``None`` where one of them is broken and may be mended elsewhere."""
        files = [getattr(plugin, "__file__", None) for plugin in self._manager.get_plugins()]
        return None if self._broken else [file for file in files if file]

    def _implementations(self, hook_name: str) -> Iterator[tuple[Source, Callable[[], Any]]]:
        for implementation in getattr(self._manager.hook, hook_name).get_hookimpls():
            yield self._sources[implementation.plugin_name], implementation.function

    def cell_finished(self, cell: FinishedCell, report: Callable[[str], None]) -> None:
        """Tell every observer; what one of them raises goes to ``report``."""
        for implementation in self._manager.hook.joulebench_cell_finished.get_hookimpls():
            try:
                implementation.function(cell)
            except Exception as error:
                report(f"observer {implementation.plugin_name}: {describe_failure(error)}")


def _deciding(kind: str, pending: Sequence[tuple[object, Source]]) -> list[tuple[object, Source]]:
    """The plugins that provide a kind, with all that share another kind with one of them, in their order.

    So of two plugins with one name the first is kept, whichever kind is asked for first.
    """
    hooks = {KINDS[kind][0]}
    while True:
        found = [item for item in pending if any(hasattr(item[0], hook) for hook in hooks)]
        more = hooks | {hook for hook, _ in KINDS.values() for plugin, _ in found if hasattr(plugin, hook)}
        if more == hooks:
            return found
        hooks = more


@cache
def default_registry() -> Registry:
    """The registry of the installed plugins, loaded once in a process."""
    registry = Registry()
    registry.load_entry_points()
    return registry


def provided_names(registry: Registry) -> Mapping[str, list[str]]:
    """Names of all plugins by kind."""
    return {kind: registry.names(kind) for kind in KINDS}
