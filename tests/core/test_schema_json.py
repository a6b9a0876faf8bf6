"""The JSON schema of profiles agrees with what reads them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from joulebench.profile.jsonschema import profile_schema
from joulebench.profile.reading import section_options
from joulebench.profile.shipped import shipped_profiles
from joulebench.registry.loading import default_registry

jsonschema = pytest.importorskip("jsonschema")

BASE: dict[str, Any] = {
    "version": 1,
    "model": {"m": {"source": "shape:tiny-llama"}},
    "backend": {"torch": {}},
    "workload": {"generate": {}},
}
SHIPPED = shipped_profiles(default_registry().profile_dirs())


@pytest.fixture(scope="module")
def validator() -> Any:
    """A validator of the schema with the installed plugins, itself checked."""
    schema = profile_schema(default_registry())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", SHIPPED.values(), ids=SHIPPED.keys())
def test_every_shipped_profile_is_valid(validator: Any, file: Path) -> None:
    validator.validate(tomllib.loads(file.read_text("utf-8")))


@pytest.mark.parametrize(
    "addition",
    [
        {"backend": {"torch": {"threads": [1, 2]}}},
        {"backend": {"mine": {"plugin": "torch", "device": ["cpu"]}}},
        {"technique": {"none": {}, "both": {"steps": [{"name": "a", "x": 1}]}}},
        {"protocol": {"target": "1%", "seed": 3}},
        {"limits": {"memory": "4GiB"}},
        {"include": [{"backend": "torch"}], "exclude": []},
        {"agreement": {"reference": {"backend": "torch", "dtype": "float32"}, "count": 3}},
    ],
)
def test_what_a_profile_may_say_is_valid(validator: Any, addition: dict[str, Any]) -> None:
    validator.validate(BASE | addition)


@pytest.mark.parametrize(
    "addition",
    [
        {"verson": 1},
        {"version": 2},
        {"agreement": {"count": 3}},
        {"agreement": {"reference": "torch"}},
        {"protocol": {"procesess": 3}},
        {"protocol": {"processes": "3"}},
        {"protocol": {"processes": 0}},
        {"protocol": {"processes": [1, 2]}},
        {"backend": {"torch": {"dtpye": "float32"}}},
        {"backend": {"torch": {"dtype": "float23"}}},
        {"backend": {"torch": {"threads": []}}},
        {"backend": {"mine": {"plugin": "torch", "dtpye": "float32"}}},
        {"workload": {"generate": {"new_tokens": -1}}},
        {"probe": {"rapll": {}}},
        {"model": {"m": {"sorce": "x"}}},
        {"include": {"backend": "torch"}},
    ],
)
def test_a_mistake_is_invalid(validator: Any, addition: dict[str, Any]) -> None:
    validator.validate(BASE)
    assert not validator.is_valid(BASE | addition)


@pytest.mark.parametrize("key", ["version", "model", "backend", "workload"])
def test_what_a_profile_needs_is_required(validator: Any, key: str) -> None:
    assert not validator.is_valid({name: BASE[name] for name in BASE if name != key})


def test_every_option_is_offered_with_its_words_and_default(validator: Any) -> None:
    offered = validator.schema["properties"]
    for section, options in section_options().items():
        for option in options:
            described = offered[section]["properties"][option.name]
            assert described["description"] == option.doc
            assert described.get("default") == option.default
