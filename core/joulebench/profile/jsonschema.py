"""The JSON schema of profiles, for editors, made from the same declarations that check them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from joulebench.api import Option, Plugin
from joulebench.profile.extending import KEY as EXTENDS
from joulebench.profile.reading import PROFILE_VERSION, section_options
from joulebench.registry.loading import Registry

_TYPES: Final[dict[str, dict[str, object]]] = {
    "str": {"type": "string"},
    "file": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "share": {"type": ["string", "number"]},
    "bytes": {"type": ["string", "integer"]},
    "command": {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1},
}

_SOURCE: Final = Option("source", "str", None, "catalogue name, path:, hf: or shape:")
_LAYERS: Final = Option("layers", "int", None, "of a shape: how many of its layers, at full width", minimum=1)


def _value(option: Option) -> dict[str, object]:
    schema: dict[str, object] = dict(_TYPES[option.type])
    if option.choices:
        schema["enum"] = list(option.choices)
    if option.minimum is not None:
        schema["minimum"] = option.minimum
    if option.maximum is not None:
        schema["maximum"] = option.maximum
    return schema


def _property(option: Option, axis: bool) -> dict[str, object]:
    value = _value(option)
    schema: dict[str, object] = dict(value)
    if axis:
        schema = {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}
    schema = {**schema, "description": option.doc}  # a new value: the type's own is shared
    if option.default is not None:
        schema["default"] = option.default
    return schema


def _table(options: Iterable[Option], axis: bool, **more: Mapping[str, object]) -> dict[str, object]:
    properties = {option.name: _property(option, axis) for option in options}
    return {"type": "object", "properties": {**properties, **more}, "additionalProperties": False}


def _named(plugins: Iterable[Plugin], key: str, **more: Mapping[str, object]) -> dict[str, object]:
    """Entries of any label; options of every plugin are offered, ``key`` chooses the plugin."""
    known = list(plugins)
    options: dict[str, Option] = {}
    for plugin in known:
        for option in plugin.options:
            options.setdefault(option.name, option)
    chooser = {"type": "string", "description": "the plugin; by default the label"}
    # An option of the same name may differ between plugins, so only its name is held here; the
    # plan checks the value.
    properties: dict[str, object] = {name: {"description": option.doc} for name, option in options.items()}
    open_entry = {"type": "object", "properties": {**properties, key: chooser, **more}, "additionalProperties": False}
    exact = {option.name: _table(option.options, True, **{key: chooser}, **more) for option in known}
    return {"type": "object", "properties": exact, "additionalProperties": open_entry}


def profile_schema(registry: Registry) -> dict[str, object]:
    """JSON schema (draft 2020-12) of a profile with the installed plugins."""
    reference = {"type": "object", "minProperties": 1, "description": "which backend is compared with"}
    own = {"agreement": {"reference": reference}}
    sections = {name: _table(options, False, **own.get(name, {})) for name, options in section_options().items()}
    sections["agreement"]["required"] = ["reference"]
    for name in ("quality", "agreement"):  # false leaves out what is inherited
        sections[name]["type"] = ["object", "boolean"]
    # protocol = "NAME" is short for a table with this preset alone.
    sections["protocol"]["type"] = ["object", "string"]
    device = {"description": "device or list of devices", "type": ["string", "array"]}
    python = {"description": "the interpreter that does its work", "type": "string"}
    backends = [registry.backend(name) for name in registry.names("backend")]
    workloads = [registry.workload(name) for name in registry.names("workload")]
    techniques = [registry.technique(name) for name in registry.names("technique")]
    probes = {name: _table(registry.probe(name).options, False) for name in registry.names("probe")}
    steps = {"type": "array", "items": {"type": "object", "required": ["name"]}}
    pattern = {"type": "array", "items": {"type": "object"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "joulebench profile",
        "type": "object",
        "required": ["version"],
        # A profile that extends another has the other's axes.
        "anyOf": [{"required": ["model", "backend", "workload"]}, {"required": [EXTENDS]}],
        "additionalProperties": False,
        "properties": {
            "version": {"const": PROFILE_VERSION},
            EXTENDS: {"type": "string", "description": "the shipped profile whose values hold where this one has none"},
            "name": {"type": "string"},
            "description": {"type": "string"},
            **sections,
            "model": {
                "type": "object",
                "additionalProperties": _table([_SOURCE], False, layers=_property(_LAYERS, True)),
            },
            "backend": _named(backends, "plugin", device=device, python=python),
            "technique": _named(techniques, "name", steps=steps, python=python),
            "workload": _named(workloads, "plugin"),
            "probe": {"type": "object", "properties": probes, "additionalProperties": False},
            "include": pattern,
            "exclude": pattern,
        },
    }
