"""What the classes must be that a plugin's hooks return: kinds, names, types of statements.

A class that does not fit is refused when it is read, with the attribute that is wrong, and not
somewhere in the middle of a plan.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Final

from joulebench.api import (
    ArtifactTechnique,
    Backend,
    Converter,
    Environment,
    Option,
    Plugin,
    Probe,
    Renderer,
    RuntimeTechnique,
    Workload,
)
from joulebench.errors import PluginError

#: Hook that provides each kind, and the classes that it must return.
KINDS: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "backend": ("joulebench_backends", (Backend,)),
    "technique": ("joulebench_techniques", (ArtifactTechnique, RuntimeTechnique)),
    "converter": ("joulebench_converters", (Converter,)),
    "probe": ("joulebench_probes", (Probe,)),
    "renderer": ("joulebench_renderers", (Renderer,)),
    "workload": ("joulebench_workloads", (Workload,)),
}

#: Kinds whose work can be done by another interpreter.
_WORKING_ELSEWHERE: Final = (ArtifactTechnique, RuntimeTechnique, Converter, Backend)

#: What each base asks its classes to state, by the words for it.
_STATED: Final[Mapping[type, Mapping[str, str]]] = {
    Backend: {"accepts": "a tuple of texts", "capabilities": "a frozenset of texts"},
    ArtifactTechnique: {"stage": "a text", "accepts": "a text", "produces": "a text"},
    RuntimeTechnique: {"requires": "a frozenset of texts"},
    Converter: {"source": "a text", "target": "a text"},
    Workload: {"unit": "a text", "requires": "a frozenset of texts", "phases": "a tuple of texts"},
    Renderer: {"suffix": "a text"},
}
_CONTAINERS: Final[Mapping[str, tuple[type, ...]]] = {
    "a tuple of texts": (tuple,),
    "a frozenset of texts": (frozenset, set),
}


def provided_by(plugin: object, entry_point: str) -> list[tuple[str, type[Plugin]]]:
    """Call the class-returning hooks of one plugin, checking what they return."""
    provided: list[tuple[str, type[Plugin]]] = []
    for kind, (hook_name, bases) in KINDS.items():
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


def _check_class(plugin_class: object, bases: tuple[type, ...], hook_name: str, entry_point: str) -> None:
    expected = " or ".join(base.__name__ for base in bases)
    if not (inspect.isclass(plugin_class) and issubclass(plugin_class, bases)):
        raise PluginError(f"{hook_name} returned {plugin_class!r}, which is no {expected} class", where=entry_point)
    name = getattr(plugin_class, "name", None)
    if not isinstance(name, str) or not name or not name.replace("-", "_").isidentifier():
        raise PluginError(f"{plugin_class.__name__}.name must be a word of letters, digits, - and _", where=entry_point)
    if inspect.isabstract(plugin_class):
        missing = ", ".join(sorted(getattr(plugin_class, "__abstractmethods__", ())))
        raise PluginError(f"{plugin_class.__name__} does not implement: {missing}", where=entry_point)
    fault = _fault(plugin_class)
    if fault is not None:
        raise PluginError(f"{plugin_class.__name__}.{fault}", where=entry_point)


def _fault(plugin_class: type) -> str | None:
    """What of the class's statements is of a wrong type, or ``None``."""
    options = getattr(plugin_class, "options", None)
    if not isinstance(options, tuple) or not all(isinstance(option, Option) for option in options):
        return f"options must be a tuple of Option, not {options!r}"
    environment = getattr(plugin_class, "environment_needs", None)
    if environment is not None and not isinstance(environment, Environment):
        return f"environment_needs must be an Environment, not {environment!r}"
    if environment is not None and not issubclass(plugin_class, _WORKING_ELSEWHERE):
        return "environment_needs is for techniques, converters and backends"
    for base, stated in _STATED.items():
        if not issubclass(plugin_class, base):
            continue
        for attribute, words in stated.items():
            value = getattr(plugin_class, attribute, None)
            if not _is(words, value):
                return f"{attribute} must be {words}, not {value!r}"
    return None


def _is(words: str, value: object) -> bool:
    kinds = _CONTAINERS.get(words)
    if kinds is None:
        return isinstance(value, str)
    if not isinstance(value, kinds):
        return False
    assert isinstance(value, Iterable)  # noqa: S101  for the type checker
    return all(isinstance(item, str) for item in value)
