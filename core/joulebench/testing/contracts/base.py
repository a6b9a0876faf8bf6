"""What all contracts share: a claim that does not hold, what is tested, and how it is skipped."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from joulebench.api import Availability, Option, Plugin, Settings
from joulebench.errors import JoulebenchError
from joulebench.profile.values import anchored, check_value, complete
from joulebench.testing.sessions import ScriptedSession

P = TypeVar("P", bound=Plugin)


class BrokenContractError(AssertionError):
    """A claim that does not hold: ``what`` was seen, ``advice`` says what to change."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}\n  advice: {advice}")
        self.what = what
        self.advice = advice


class SkippedError(Exception):
    """A claim that cannot be tried here, with the reason; where pytest runs, its own skip."""


def expect(holds: bool, what: str, advice: str) -> None:
    """Raise :class:`BrokenContractError` unless the claim holds."""
    if not holds:
        raise BrokenContractError(what, advice)


def not_here(reason: str) -> NoReturn:
    """Skip the test: what it asks for is not there."""
    pytest = sys.modules.get("pytest")
    if pytest is not None:
        pytest.skip(reason)
    raise SkippedError(reason)


@dataclass(frozen=True)
class Subject(Generic[P]):
    """A plugin with what its contract should use, where the defaults will not do.

    ``settings`` stand beside the options' defaults. ``model`` is a checkpoint's folder in place of
    the tiny one, ``source`` what a converter reads where no installed converter makes that format,
    ``device`` one of a backend's devices in place of the first. ``session`` makes what a workload is
    tried on, where it needs calls that no backend of joulebench has (a batch, say): a
    :class:`~joulebench.testing.sessions.ScriptedSession` with these calls.
    """

    plugin: P
    settings: Settings = field(default_factory=dict)
    model: Path | None = None
    source: Path | None = None
    device: str | None = None
    session: Callable[[], ScriptedSession] = ScriptedSession

    def complete_settings(self) -> dict[str, Any]:
        """Defaults and given settings, checked as a profile's are."""
        options = self.plugin.options
        values = complete(options, self.settings, lambda key: f"settings[{key!r}]")
        values = anchored(options, values, Path.cwd())
        for option in options:
            if option.type == "file" and option.name in values:
                values[option.name] = _file(str(values[option.name]))
        return values


def _file(value: str) -> str:
    """The path of a file that an option names, as the host resolves it; nothing is fetched."""
    from joulebench.models.catalogue import read_catalogue, resolve_text
    from joulebench.registry.loading import default_registry

    folders = default_registry().profile_dirs()
    return str(resolve_text(value, read_catalogue(folders), folders, Path.cwd()))


def subject_of(plugin: P | Subject[P]) -> Subject[P]:
    """What the fixture gave, as a subject."""
    return plugin if isinstance(plugin, Subject) else Subject(plugin)


def require_available(plugin: Plugin) -> None:
    """Skip where the plugin says that it cannot work here."""
    availability = plugin.available()
    if not availability.ok:
        not_here(f"not available here: {availability.reason}")


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with these variables, as far as that still has an effect."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def expect_record(values: object, what: str) -> None:
    """A mapping that a session can hold as JSON: texts to texts, numbers, booleans and None."""
    expect(isinstance(values, Mapping), f"{what} gave {values!r}", f"{what} must return a mapping")
    assert isinstance(values, Mapping)  # noqa: S101  for the type checker
    for name, value in values.items():
        expect(
            isinstance(name, str) and isinstance(value, (str, int, float, bool, type(None))),
            f"{what} holds {name!r}: {value!r}",
            "use plain str, int, float, bool or None; numpy's numbers need int() or float()",
        )
        expect(
            not isinstance(value, float) or math.isfinite(value),
            f"{what} holds {name!r}: {value!r}",
            "a figure that is not known is None",
        )
    json.dumps(dict(values))


class PluginContract:
    """What every plugin keeps. A subclass gives the fixture ``plugin``: it, or a Subject."""

    #: What the plugins are that are held to it, as ``joulebench plugin list`` calls them.
    kind: ClassVar[str]

    def test_it_has_a_name_and_a_line_of_summary(self, plugin: Any) -> None:
        """``name`` is a word, ``summary`` one line that says what it does."""
        tested: Plugin = subject_of(plugin).plugin
        expect(
            tested.name.replace("-", "_").isidentifier(),
            f"its name is {tested.name!r}",
            "use a word of letters, digits, - and _",
        )
        summary = tested.summary
        expect(
            isinstance(summary, str) and bool(summary.strip()) and "\n" not in summary,
            f"its summary is {summary!r}",
            "say in one line what it does: 'joulebench plugin list' shows it",
        )

    def test_its_options_are_declared_well(self, plugin: Any) -> None:
        """Each option has a type, a meaning, and a default that a profile could give."""
        tested: Plugin = subject_of(plugin).plugin
        names = [option.name for option in tested.options]
        expect(len(names) == len(set(names)), f"its options are {names}", "give each its own name")
        for option in tested.options:
            expect(
                isinstance(option, Option) and bool(option.doc.strip()),
                f"option {option!r} says nothing of its meaning",
                "give it a doc: the documentation and the JSON schema are made from it",
            )
            if option.default is None or option.type in ("share", "bytes"):
                continue
            try:
                parsed = check_value(option, option.default, option.name)
            except JoulebenchError as error:
                raise BrokenContractError(
                    f"the default of option '{option.name}' is refused: {error}",
                    "a default must keep the option's own type, choices and limits",
                ) from None
            expect(
                parsed == option.default,
                f"the default of option '{option.name}' is {option.default!r}, read as {parsed!r}",
                "state the default as the type that the plugin gets",
            )

    def test_it_says_whether_it_is_available_and_why_not(self, plugin: Any) -> None:
        """``available()`` gives an Availability; a no has a reason."""
        availability: object = subject_of(plugin).plugin.available()
        expect(
            isinstance(availability, Availability),
            f"available() gave {availability!r}",
            "return Availability.yes() or Availability.no(reason, cure)",
        )
        assert isinstance(availability, Availability)  # noqa: S101
        expect(
            availability.ok or bool(availability.reason),
            "it is not available and does not say why",
            "Availability.no(reason, cure): say what is missing and what would install it",
        )

    def test_its_versions_are_texts(self, plugin: Any) -> None:
        """``versions()`` maps names of distributions to their versions."""
        versions: object = subject_of(plugin).plugin.versions()
        expect(
            isinstance(versions, Mapping) and all(isinstance(part, str) for pair in versions.items() for part in pair),
            f"versions() gave {versions!r}",
            "return distribution_versions([...])",
        )
