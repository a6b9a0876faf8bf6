"""What the code offers is on the pages, and the pages are what the generator makes of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, TypeGuard, get_args

import click
import pyarrow as pa
import pytest
from doc_pages import ROOT, all_pages, anchors, page, prose

from joulebench import protocol
from joulebench.api import Quantity
from joulebench.meter.comparison import Verdict
from joulebench.profile.reading import section_options
from joulebench.session import schema, tables
from joulebench.worker import serving as worker
from joulebench_reports.words.flags import FLAGS

_TABLES: Final = {"session": schema.SESSION, **schema.CELL_TABLES}
_STRUCTS: Final = schema.STRUCTS


def _rows(text: str) -> list[list[str]]:
    """Rows of Markdown tables, cell by cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def _region(name: str, text: str) -> str:
    start, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    assert start in text, f"no region {name}"
    return text.partition(start)[2].partition(end)[0]


@pytest.mark.parametrize("file", all_pages(), ids=lambda file: file.name)
def test_generated_parts_are_what_the_generator_makes_now(file: Path, reference: ModuleType) -> None:
    text = file.read_text(encoding="utf-8")
    assert reference.renewed(text) == text, "run 'make docs'"


def test_every_region_that_can_be_made_is_on_some_page(reference: ModuleType) -> None:
    used = {name for file in all_pages() for name in reference.regions_of(file.read_text())}
    assert used == set(reference.REGIONS)


@pytest.mark.parametrize("name", [*(f"table-{n}" for n in _TABLES), *(f"struct-{n}" for n in _STRUCTS)])
def test_every_column_stands_with_its_unit_and_meaning(name: str) -> None:
    kind, _, key = name.partition("-")
    fields = list(_TABLES[key] if kind == "table" else _STRUCTS[key])
    by_name = {row[0].strip("`"): row[2:] for row in _rows(_region(name, page("session-format.md")))}
    for field in fields:
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        assert by_name[field.name][0] == unit
        assert by_name[field.name][1]


def test_columns_with_a_unit_in_their_name_have_it_in_their_metadata() -> None:
    endings = {"_ns": "ns", "_s": "s", "_j": "J", "_w": "W", "_bytes": "B", "_c": "degC", "_hz": "Hz"}
    lacking: list[str] = []
    for table, fields in {**_TABLES, **_STRUCTS}.items():
        for field in fields:
            said = (field.metadata or {}).get(b"unit", b"").decode()
            for ending, unit in endings.items():
                if field.name.endswith(ending) and said != unit and not _is_struct(field):
                    lacking.append(f"{table}.{field.name}")
    assert lacking == []


def _is_struct(field: pa.Field) -> bool:
    return bool(pa.types.is_struct(field.type))


def test_every_minor_version_of_the_session_s_format_says_what_it_added() -> None:
    listed = {row[0]: row[1] for row in _rows(page("session-format.md")) if re.fullmatch(r"1\.\d+", row[0])}
    assert list(listed) == [f"{tables.SCHEMA_VERSION}.{minor}" for minor in range(1, tables.SCHEMA_MINOR + 1)]
    columns = {field.name for fields in [*_TABLES.values(), *_STRUCTS.values()] for field in fields}
    named = {name for added in listed.values() for name in re.findall(r"`(\w+)`", added)}
    assert named <= columns


def test_every_key_of_every_section_of_a_profile_is_documented() -> None:
    text = page("profiles.md")
    for section, options in section_options().items():
        names = {row[0] for row in _rows(_region(f"section-{section}", text))}
        assert {f"`{option.name}`" for option in options} <= names


def test_every_option_of_every_plugin_is_documented(reference: ModuleType) -> None:
    registry = reference.own_registry()
    text = page("profiles.md")
    for kind in ("backend", "technique", "workload", "probe", "renderer"):
        region = _region(f"options-{kind}", text)
        for name in registry.names(kind):
            own = region.partition(f"**`{name}`**")[2].partition("\n**`")[0]
            options = getattr(registry, kind)(name).options
            assert {f"`{option.name}`" for option in options} <= {row[0] for row in _rows(own)}


def test_every_probe_has_its_section_on_the_page_of_sensors(reference: ModuleType) -> None:
    names = set(reference.own_registry().names("probe"))
    assert names <= anchors(page("sensors.md"))


def test_every_hook_is_documented_with_its_parameters(reference: ModuleType) -> None:
    text = page("plugins.md")
    for name in reference.hook_names():
        assert f"### {name}\n\n```python\n{name}(" in text


@pytest.mark.parametrize("name", ["classes", "values", "checkpoint", "backendkit"])
def test_every_attribute_of_the_plugin_api_has_a_meaning(name: str) -> None:
    rows = [row for row in _rows(_region(name, page("plugins.md"))) if len(row) == 4 and row[0].startswith("`")]
    assert [row[0] for row in rows if not row[3]] == []


def test_every_command_and_each_of_its_options_is_documented(reference: ModuleType) -> None:
    text = page("cli.md")
    for name, command in reference.commands():
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert all(f"`{option}`" in section for option in parameter.opts), parameter.name


def test_the_pages_name_no_command_that_is_not_there(reference: ModuleType) -> None:
    known = {name for name, _ in reference.commands()}
    first = {name.split()[1] for name in known}
    groups = {name.split()[1] for name in known if len(name.split()) == 3}
    for file in all_pages():
        for words in re.findall(r"\bjoulebench ([a-z][a-z-]*)(?: ([a-z]+))?", _code(file)):
            assert words[0] in first, f"{file.name}: joulebench {words[0]}"
            if words[0] in groups and words[1]:
                assert f"joulebench {words[0]} {words[1]}" in known, file.name


def _code(file: Path) -> str:
    """What stands in backticks or in a shell block."""
    text = file.read_text(encoding="utf-8")
    shell = re.findall(r"^```sh[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*shell, *re.findall(r"`([^`]+)`", prose(text))])


# -- flags --------------------------------------------------------------------------------------

#: Words in the same places as flags that are none.
_NO_FLAGS: Final = {*get_args(Quantity), *get_args(Verdict)}
_FLAG: Final = re.compile(r"[a-z]+(?:_[a-z]+)+")


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and _FLAG.fullmatch(text):
            yield text


def _flags_of(file: Path) -> set[str]:
    """Names that a module of the arithmetic gives to its flags."""
    return set(_texts(ast.parse(file.read_text(encoding="utf-8")))) - _NO_FLAGS


def _flags_given(file: Path) -> set[str]:
    """Flags that are set, in each of the ways in which modules do it.

    ``run.flags["NAME"] = None``, ``flags.append("NAME")``, ``flags = [*turn.flags, "NAME"]``,
    ``without_energy(window, "NAME")``, and words of a keyword argument ``flags=("NAME",)``.
    """
    matches: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Subscript) and _is_flags(node.value):
            matches |= _words(node.slice)
        elif _holds_flags(node):
            matches |= _words(node.value)
        elif isinstance(node, ast.Call) and _sets_a_flag(node.func):
            matches |= {word for argument in node.args for word in _words(argument)}
    return matches


def _holds_flags(node: ast.AST) -> TypeGuard[ast.Assign | ast.keyword]:
    if isinstance(node, ast.Assign):
        return any(map(_is_flags, node.targets))
    return isinstance(node, ast.keyword) and node.arg == "flags"


def _is_flags(node: ast.AST) -> bool:
    name = getattr(node, "attr", getattr(node, "id", None))
    return name in ("flags", "_flags")


def _sets_a_flag(called: ast.expr) -> bool:
    if isinstance(called, ast.Attribute):
        return called.attr == "append" and _is_flags(called.value)
    return isinstance(called, ast.Name) and called.id in ("without_energy", "_withdrawn")


def _words(tree: ast.AST) -> set[str]:
    """Words in an expression, but for what is only the key of a row."""
    keys = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in keys
        and re.fullmatch(r"[a-z_]+", node.value)
    }


def test_flags_are_found_in_every_way_in_which_they_are_set() -> None:
    core = ROOT / "core" / "joulebench"
    assert {"contended", "throttled", "resumed", "sampler_lost"} <= _flags_given(core / "runs" / "record.py")
    assert {"counter_frozen", "sensor_lost"} <= _flags_of(core / "meter" / "windows.py")
    assert "forked" in _flags_given(core / "metering" / "window.py")
    assert "contended" in _flags_given(core / "metering" / "command.py")


def test_every_flag_is_explained_on_the_page_of_the_protocol() -> None:
    core = ROOT / "core" / "joulebench"
    flags = set(FLAGS)
    for name in ("energy", "counters", "gauges", "idle", "uncertainty", "comparison"):
        flags |= _flags_of(core / "meter" / f"{name}.py")
    flags |= _flags_of(core / "sensors" / "gate.py") - {"cpu_time"}
    for file in core.rglob("*.py"):
        flags |= _flags_given(file)
    explained = {row[0] for row in _rows(page("measurement.md"))}
    assert {f"`{flag}`" for flag in flags} <= explained


# -- the worker's protocol ------------------------------------------------------------------------


def test_every_request_to_a_worker_is_documented() -> None:
    known = set(re.findall(r'op == "(\w+)"', Path(worker.__file__).read_text(encoding="utf-8")))
    assert known == {"hello", "open", "run", "score", "refer", "agree", "inspect", "close"}
    headings = anchors(page("worker-protocol.md"))
    assert known <= headings
    assert f"version **{protocol.PROTOCOL_VERSION}**" in page("worker-protocol.md")
