"""Checks installed plugins: chooses what to check, runs the checks in children, judges the load."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from joulebench.errors import ProfileError, UnknownPluginError, nearest
from joulebench.pluginkit.isolated import ChildJob, run_checks
from joulebench.pluginkit.loading import ANSWER_S, IMPORT_BYTES, IMPORT_S
from joulebench.pluginkit.results import CheckReport, CheckResult
from joulebench.registry.discovery import ENTRY_POINT_GROUP, SHIPPED

#: Settings of plugins by (kind, name).
PluginSettings = Mapping[tuple[str, str], Mapping[str, Any]]


def installed_points() -> list[metadata.EntryPoint]:
    """Every entry point of joulebench's group, in order of name."""
    return sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)


def is_shipped(point: metadata.EntryPoint) -> bool:
    """Whether the entry point comes with joulebench itself."""
    return point.dist is not None and _canonical(point.dist.name) == SHIPPED


def read_settings(words: Sequence[str]) -> PluginSettings:
    """``KIND.NAME.KEY=VALUE`` (TOML syntax; a bare word is text) as settings."""
    settings: dict[tuple[str, str], dict[str, Any]] = {}
    for word in words:
        path, equals, text = word.partition("=")
        parts = [part.strip() for part in path.split(".")]
        if not equals or len(parts) != 3 or not all(parts):
            raise ProfileError(
                f"'{word}' is not KIND.NAME.KEY=VALUE",
                where="--set",
                hint="for example --set backend.command.command=./my-worker",
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        settings.setdefault((parts[0], parts[1]), {})[parts[2]] = value
    return settings


class Checker:
    """Checks plugins one after another. ``say`` is told what is being done."""

    def __init__(self, settings: PluginSettings, limit_s: float, say: Callable[[str], None]) -> None:
        self._points = installed_points()
        self._settings = settings
        self._limit_s = limit_s
        self._say = say
        self._loads: dict[str, list[CheckResult]] = {}

    def reports(self, name: str | None) -> Iterator[CheckReport]:
        """A report for each entry point that ``name`` means; of all foreign ones without a name."""
        if name is None:
            for point in self._points:
                if not is_shipped(point):
                    yield self._report(point, None)
            return
        chosen = [point for point in self._points if name in (point.name, _distribution(point)[0])]
        if chosen:
            for point in chosen:
                yield self._report(point, None)
            return
        yield from self._of_plugin(name)

    def _of_plugin(self, name: str) -> Iterator[CheckReport]:
        """The entry points that provide a plugin of that name; of them, that plugin alone."""
        known = {point.name for point in self._points}
        known_name = False
        for point in self._points:
            provided = self._load(point)[0].facts.get("provides", [])
            known |= {subject for _, subject in provided}
            if any(subject == name for _, subject in provided):
                known_name = True
                yield self._report(point, name)
        if not known_name:
            raise UnknownPluginError(
                f"no installed plugin, entry point or distribution is called '{name}'", hint=_hint(name, known)
            )

    def _report(self, point: metadata.EntryPoint, only: str | None) -> CheckReport:
        distribution, version = _distribution(point)
        results = list(self._load(point))
        loaded = results[0]
        if loaded.status == "ok":
            results += _judged(loaded)
            together = self._run("together", point, without=())
            results += [*together, *self._run("declared", point)]
            taken = any(result.status == "fault" for result in together)
            for kind, name in loaded.facts["provides"]:
                if only in (None, name) and not taken:  # another's would be tried in its place
                    results += self._run("plugin", point, kind, name, self._settings.get((kind, name), {}))
        return CheckReport(point.name, distribution, version, tuple(results))

    def _load(self, point: metadata.EntryPoint) -> list[CheckResult]:
        """Results of loading it, that of the loading itself first."""
        if point.name not in self._loads:
            results = self._run("load", point)
            if results[0].facts.get("import_s", 0.0) > IMPORT_S:
                results = self._run("load", point)  # the first time may have compiled it
            self._loads[point.name] = results
        return self._loads[point.name]

    def _run(
        self,
        task: str,
        point: metadata.EntryPoint,
        kind: str = "",
        name: str = "",
        settings: Mapping[str, Any] | None = None,
        without: Sequence[str] | None = None,
    ) -> list[CheckResult]:
        if without is None:  # what others do must not be this plugin's fault
            without = [other.name for other in self._points if other.name != point.name and not is_shipped(other)]
        self._say(f"{point.name}: {kind} {name}".rstrip(": ") if name else f"{point.name}: {task}")
        job = ChildJob(task, point.name, kind, name, settings, without)
        return run_checks(job, self._limit_s)


def _hint(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    listed = "'joulebench plugin list' shows what is installed"
    return listed if close is None else f"did you mean '{close}'? {listed}"


def _judged(loaded: CheckResult) -> Iterator[CheckResult]:
    """What loading cost, against what every command can bear."""
    facts = loaded.facts
    heavy = facts["import_s"] > IMPORT_S or facts["import_bytes"] > IMPORT_BYTES
    cost = f"{facts['import_s']:.2f} s and {facts['import_bytes'] / 2**20:.0f} MiB"
    imported = ", ".join(facts["imported"])
    yield CheckResult(
        "",
        "its module is light",
        "fault" if heavy else "ok",
        f"importing it takes {cost}" + (f"; it imports {imported}" if imported else ""),
        "every command and every worker imports it: move heavy imports into the methods that need them"
        if heavy
        else "",
    )
    for answer in facts["answers"]:
        slow = answer["seconds"] > ANSWER_S
        yield CheckResult(
            f"{answer['kind']} {answer['name']}",
            "it says at once whether it is available",
            "fault" if slow else "ok",
            f"available() took {answer['seconds']:.2f} s" if slow else _said(answer),
            "look for modules without importing them (require_modules)" if slow else "",
        )


def _said(answer: Mapping[str, Any]) -> str:
    if answer["available"]:
        return ""
    cure = f" ({answer['cure']})" if answer["cure"] else ""
    return f"not available here: {answer['reason']}{cure}"


def _distribution(point: metadata.EntryPoint) -> tuple[str, str]:
    return ("unknown", "") if point.dist is None else (point.dist.name, point.dist.version)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
