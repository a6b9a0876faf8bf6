"""Writes the parts of docs/ that are made from the code: ``python docs/make_reference.py``.

A page keeps its own words; what stands between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``
is replaced. With ``--check`` nothing is written and the exit code is 1 where a page is stale.
Only what this distribution ships is documented, whatever other plugins are installed.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import functools
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Final, get_args

import click
import pyarrow as pa

from joulebench import api, backendkit, checkpoint, hookspecs
from joulebench.api import ArtifactTechnique, Option, OptionValue, Plugin
from joulebench.cli import cli
from joulebench.models.catalogue import Catalogue, read_catalogue
from joulebench.models.published import PublishedModel
from joulebench.plan.modelnotes import MOST
from joulebench.pluginkit.child import words_of
from joulebench.profile.reading import section_options
from joulebench.profile.values import complete
from joulebench.registry.discovery import ENTRY_POINT_GROUP
from joulebench.registry.loading import Registry, default_registry
from joulebench.session import schema
from joulebench.session.tables import SCHEMA_MINOR, SCHEMA_VERSION
from joulebench.testing.contracts import CONTRACTS, PluginContract
from joulebench_plugins.fpga.device import QUANTITIES, Quantity, board, board_names
from joulebench_plugins.fpga.published import HEADER as PUBLISHED_HEADER
from joulebench_plugins.fpga.published import table_rows as published_rows
from joulebench_plugins.shared.decoder.roles import ROLES
from joulebench_reports.compare.jsoncomparison import COMPARISON
from joulebench_reports.data.columns import COLUMNS
from joulebench_reports.data.jsonadvice import ADVICE
from joulebench_reports.data.jsonformat import EXTRAPOLATIONS, REPORT, Format
from joulebench_reports.melodi.analysisreport import ANALYSIS
from joulebench_reports.words.flags import FLAGS

#: Of a model of the survey: how it is run.
_RUN_HEADER: Final = ("weights", "status", "command")
#: Memory that most machines have: what needs less is not told of.
_COMMON_GB: Final = 8
DOCS: Final = Path(__file__).parent
_DISTRIBUTION: Final = "joulebench"
#: The declared JSON formats by the page that has each as JSON Schema.
SCHEMAS: Final[dict[Path, Format]] = {
    DOCS / "report.schema.json": REPORT,
    DOCS / "comparison.schema.json": COMPARISON,
    DOCS / "advice.schema.json": ADVICE,
    DOCS / "analysis.schema.json": ANALYSIS,
    DOCS / "extrapolations.schema.json": EXTRAPOLATIONS,
}
_REGION: Final = re.compile(r"(<!-- begin: ([\w.-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)

#: What a plugin author implements, and the values that pass between plugin and host.
IMPLEMENTED: Final = (
    api.Plugin,
    api.Backend,
    api.BackendSession,
    api.ArtifactTechnique,
    api.RuntimeTechnique,
    api.Converter,
    api.Probe,
    api.Workload,
    api.Renderer,
)
VALUES: Final = (
    api.Option,
    api.Availability,
    api.Environment,
    api.Artifact,
    api.ModelFile,
    api.Device,
    api.MemoryUse,
    api.Arrival,
    api.Served,
    api.ModelTokenizer,
    api.Traffic,
    api.Kernel,
    api.Request,
    api.Outcome,
    api.Recorder,
    api.WorkloadContext,
    api.Channel,
    api.Accuracy,
    api.FileSource,
    api.ReaderSource,
    api.FinishedCell,
    api.SimulatedCost,
)


# -- Markdown -----------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def _prose(text: str | None) -> str:
    """A docstring as Markdown: roles and double backticks become code."""
    cleaned = inspect.cleandoc(text or "")
    cleaned = re.sub(r":\w+:`~?(?:[\w.]+\.)?([\w_]+)`", r"`\1`", cleaned)
    cleaned = cleaned.replace("``", "`")
    return re.sub(r"::\n\n((?:    .*(?:\n|$)|\n)+)", _fenced, cleaned).rstrip()


def _fenced(block: re.Match[str]) -> str:
    """A literal block of a docstring as a block of Python."""
    code = inspect.cleandoc(block[1])
    return f":\n\n```python\n{code}\n```\n\n"


def _line(text: str | None) -> str:
    return " ".join(_prose(text).split())


# -- what this distribution ships ---------------------------------------------------------------


def own_registry() -> Registry:
    """The plugins of this distribution alone."""
    registry = Registry()
    for point in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda item: item.name):
        if point.dist is not None and point.dist.name == _DISTRIBUTION:
            registry.add(point.load(), point.name, _DISTRIBUTION)
    return registry


def commands() -> list[tuple[str, click.Command]]:
    """Every command and subcommand with its full name, in the order of the help."""
    context = click.Context(cli, info_name="joulebench")
    foreign = set(default_registry().commands()) - set(own_registry().commands())
    commands: list[tuple[str, click.Command]] = []
    for name in cli.list_commands(context):
        command = None if name in foreign else cli.get_command(context, name)
        if command is not None:
            commands += _with_subcommands(f"joulebench {name}", command)
    return commands


def _with_subcommands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner in sorted(command.commands):
            yield from _with_subcommands(f"{name} {inner}", command.commands[inner])


# -- regions ------------------------------------------------------------------------------------


def command_reference() -> str:
    """Usage, help and options of every command."""
    parts = [f"## joulebench\n\n{_prose(cli.help)}\n\n{_parameters(cli)}"]
    for name, command in commands():
        usage = " ".join([name, *_usage(command)])
        parts.append(f"## {name}\n\n```\n{usage}\n```\n\n{_prose(command.help)}\n")
        options = _parameters(command)
        if options:
            parts[-1] += f"\n{options}"
        if command.epilog:
            lines = inspect.cleandoc(command.epilog.partition("\n")[2].partition("\n")[2])
            parts[-1] += f"\n```sh\n{lines}\n```\n"
    return "\n".join(parts)


def _usage(command: click.Command) -> Iterator[str]:
    if any(isinstance(parameter, click.Option) for parameter in command.params):
        yield "[OPTIONS]"
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            name = (parameter.metavar or str(parameter.name)).upper().removesuffix("...")
            name = name[1:-1] if name.startswith("[") else name
            name += "..." if parameter.nargs == -1 else ""
            yield name if parameter.required else f"[{name}]"
    if isinstance(command, click.Group):
        yield "COMMAND"


def _parameters(command: click.Command) -> str:
    rows = [_option_row(parameter) for parameter in command.params if isinstance(parameter, click.Option)]
    return table(["option", "value", "meaning"], rows) if rows else ""


def _option_row(option: click.Option) -> list[str]:
    names = ", ".join(_code(name) for name in [*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else _code(option.metavar or option.type.name.upper())
    text = " ".join((option.help or "").split())
    if option.show_default and not option.is_flag:
        text += f" Default: `{option.default}`."
    return [names, value, text]


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "string (dictionary)"
    if pa.types.is_list(kind):
        inner = kind.value_type
        return f"list of {'struct' if pa.types.is_struct(inner) else _type_name(inner)}"
    return "struct" if pa.types.is_struct(kind) else str(kind)


def columns(fields: Iterable[pa.Field]) -> str:
    """A table of columns: name, type, unit, meaning."""
    rows = []
    for field in fields:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        rows.append([_code(field.name), _type_name(field.type), metadata.get("unit", ""), metadata["doc"]])
    return table(["column", "type", "unit", "meaning"], rows)


def option_table(options: Iterable[Option]) -> str:
    """A table of options as a profile gives them."""
    rows = []
    for option in options:
        default = "not set" if option.default is None else _code(_toml(option.default))
        limits = [f"one of {', '.join(_code(_toml(c)) for c in option.choices)}"] * bool(option.choices)
        limits += [f"at least {option.minimum:g}"] if option.minimum is not None else []
        limits += [f"at most {option.maximum:g}"] if option.maximum is not None else []
        text = option.doc + (f" ({'; '.join(limits)})" if limits else "")
        rows.append([_code(option.name), option.type, default, text])
    return table(["key", "type", "default", "meaning"], rows)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def plugin_options(kind: str) -> str:
    """The options of every shipped plugin of a kind."""
    registry = own_registry()
    parts = []
    for name in registry.names(kind):
        made: Plugin = getattr(registry, kind)(name)
        options = option_table(made.options) if made.options else "No options.\n"
        parts.append(f"**`{name}`**: {made.summary}\n\n{options}")
    return "\n".join(parts)


def flag_table() -> str:
    """Every flag that the reports explain."""
    return table(["flag", "meaning"], ([_code(flag), FLAGS[flag].text] for flag in sorted(FLAGS)))


def board_tables() -> str:
    """Every figure of the shipped descriptions of FPGAs, with its range and its source."""
    parts = []
    for name in board_names():
        device = board(name)
        rows = [[_code(quantity), *_figures(getattr(device, quantity))] for quantity in QUANTITIES]
        parts.append(
            f"**`{name}`**: {device.title}; {device.memory}; "
            f"{device.engines} × {device.lanes} lanes\n\n" + table(["figure", "value", "low", "high", "source"], rows)
        )
    return "\n".join(parts)


@functools.cache
def _catalogue() -> Catalogue:
    return read_catalogue(own_registry().profile_dirs())


def _published() -> list[PublishedModel]:
    return list(_catalogue().published.values())


def survey_table() -> str:
    """Table 1 of the survey: its numbers, what they give, and what papers and model cards give."""
    header = ["model", "printed, 10⁹", "ratio", "ALScore", "published, 10⁹", "ratio", "ALScore", *_RUN_HEADER]
    rows = []
    for model in _published():
        if model.survey is None:
            continue
        printed = f"{model.survey.parameters_b:g} / {model.survey.tokens_b:,g}"
        published = f"{_digits(model.parameters_b)} / {_digits(model.tokens_b)}"
        ratio = _digits(model.survey_ratio) + (f" (printed {model.survey.ratio})" if model.survey.ratio else "")
        scores = [_digits(model.survey_alscore), published, _digits(model.ratio), _digits(model.alscore)]
        rows.append([_survey_name(model), printed, ratio, *scores, *_survey_run(model)])
    return table(header, rows)


def survey_family(place: str) -> str:
    """The models that a section of the survey names."""
    models = [model for model in _published() if place in model.place.split(", ")]
    rows = [
        [_survey_name(model), _digits(model.parameters_b), model.licence or "unknown", *_survey_run(model)]
        for model in models
    ]
    return table(["model", "parameters, 10⁹", "licence", *_RUN_HEADER], rows)


def survey_notes() -> str:
    """Where the survey, the papers and the arithmetic differ."""
    noted = [model for model in _published() if model.notes and model.survey]
    return "".join(f"- {model.title}: {'; '.join(model.notes)}.\n" for model in noted)


def _survey_name(model: PublishedModel) -> str:
    return f"{model.title} ({model.lab}, {model.year})" + (", MoE" if model.is_mixture else "")


def _survey_run(model: PublishedModel) -> list[str]:
    """Size of the weights as a shape, the status, and what measures it or says why not."""
    shape = _catalogue().shapes.get(model.shape or "")
    if shape is None or shape.size_bytes is None:
        return ["–", f"not yet: {model.without_shape}", f"`joulebench models show {model.name}`"]
    least_gb = math.ceil(shape.size_bytes / MOST / 1e9)
    status = "by shape" if least_gb < _COMMON_GB else f"by shape from {least_gb} GB of memory, else extrapolated"
    command = f"`joulebench run one --set model.it.source=shape:{shape.name}`"
    return [f"{shape.size_bytes / 1e9:,.3g} GB", status, command]


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _figures(quantity: Quantity) -> list[str]:
    numbers = (quantity.value, quantity.low, quantity.high)
    return [*(f"{number:.6g}" for number in numbers), quantity.source]


def _annotation(text: object) -> str:
    return str(text).replace("'", "")


def _signature(function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    shown = [
        str(parameter.replace(annotation=_annotation(parameter.annotation)))
        if parameter.annotation is not parameter.empty
        else str(parameter)
        for parameter in signature.parameters.values()
    ]
    result = _annotation(signature.return_annotation)
    return f"{function.__name__}({', '.join(shown).replace(chr(39), '')}) -> {result}"


def hook_names() -> list[str]:
    """Names of all hooks, in the order of their definition."""
    return [name for name in vars(hookspecs) if name.startswith("joulebench_")]


def hook_reference() -> str:
    """Signature and meaning of every hook."""
    parts = []
    for name in hook_names():
        function = getattr(hookspecs, name)
        parts.append(f"### {name}\n\n```python\n{_signature(function)}\n```\n\n{_prose(function.__doc__)}\n")
    return "\n".join(parts)


def class_reference(classes: Iterable[type]) -> str:
    """Attributes and methods of classes."""
    return "\n".join(_class_text(cls) for cls in classes)


def _class_text(cls: type) -> str:
    text = f"### {cls.__name__}\n\n{_prose(cls.__doc__)}\n"
    attributes = list(_attributes(cls))
    if attributes:
        text += "\n" + table(["attribute", "type", "default", "meaning"], attributes)
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    methods = [
        f"- `{_signature(member)}`: {'**must be implemented.** ' * (name in abstract)}{_line(member.__doc__)}"
        for name, member in vars(cls).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]
    if methods:
        text += "\n" + "\n".join(methods) + "\n"
    return text


def _attributes(cls: type) -> Iterator[list[str]]:
    """Annotated attributes with the ``#:`` comments above them, from the source."""
    comment: list[str] = []
    in_docstring = False
    for line in inspect.getsource(cls).splitlines():
        stripped = line.strip()
        in_docstring ^= stripped.count('"""') == 1
        match = re.match(r"    (\w+): ([^=]+?)(?: = (.+))?$", line)
        if stripped.startswith("#:"):
            comment.append(stripped[2:].strip())
        elif match and not in_docstring:
            kind = re.sub(r"^ClassVar\[(.*)\]$", r"\1", match[2])
            yield [_code(match[1]), _code(kind), _code(match[3] or ""), _line(" ".join(comment))]
            comment = []
        else:
            comment = []


def contract_reference() -> str:
    """What each contract tests, by its tests' own words."""
    parts = []
    for kind, contract in CONTRACTS.items():
        rows = [
            [words_of(name), _line(getattr(contract, name).__doc__)]
            for name in vars(contract)
            if name.startswith("test_")
        ]
        parts.append(
            f"### {contract.__name__}\n\nOf each {kind}. {_prose(contract.__doc__)}\n\n{table(['test', 'claim'], rows)}"
        )
    common = [
        [words_of(name), _line(getattr(PluginContract, name).__doc__)]
        for name in vars(PluginContract)
        if name.startswith("test_")
    ]
    return f"Of all kinds:\n\n{table(['test', 'claim'], common)}\n" + "\n".join(parts)


def _public(module: ModuleType) -> list[object]:
    """What a module defines, and what it lists of others (``__all__``)."""
    listed = getattr(module, "__all__", ())
    return [
        value
        for name, value in vars(module).items()
        if name in listed
        or (not name.startswith("_") and f"{getattr(value, '__module__', '')}.".startswith(f"{module.__name__}."))
    ]


def function_reference(module: ModuleType) -> str:
    """The public functions of a module for authors."""
    functions = [value for value in _public(module) if inspect.isfunction(value)]
    return "".join(f"- `{_signature(function)}`: {_line(function.__doc__)}\n" for function in functions)


def module_reference(module: ModuleType) -> str:
    """The public functions and classes of a module for authors."""
    classes = [value for value in _public(module) if inspect.isclass(value)]
    return function_reference(module) + "\n" + class_reference(classes)


#: Names that stand for types in the signatures above.
_NAMED_TYPES: Final = ("OptionType", "Quantity", "Provenance", "OptionValue", "Scalar", "Settings", "Technique")


def type_reference() -> str:
    """What the named types stand for."""
    rows = []
    for name in _NAMED_TYPES:
        meant = getattr(api, name)
        values = [value for value in get_args(meant) if isinstance(value, str)]
        text = ", ".join(f'`"{value}"`' for value in values) or _code(_plain_type(meant))
        rows.append([_code(name), text])
    return table(["type", "is"], rows)


def _plain_type(meant: object) -> str:
    return re.sub(r"(?:typing|collections\.abc|joulebench\.api\.\w+)\.", "", str(meant))


# -- the rooms of the house ---------------------------------------------------------------------

_ROOT: Final = DOCS.parent


def layers(contract: str) -> list[list[str]]:
    """Packages and modules of a contract, layer by layer, the highest first, as the linter holds them."""
    contracts = configparser.ConfigParser()
    contracts.read(_ROOT / ".importlinter")
    stated = contracts[f"importlinter:contract:{contract}"]["layers"].split("\n")
    return [[name.strip() for name in line.split(":")] for line in stated if line.strip()]


def _purpose(place: Path) -> str:
    """The first sentence of a package's or a module's docstring."""
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return _line(docstring.partition("\n\n")[0])


def cell_columns() -> str:
    """The columns of a table of cells; the ends of an interval stand with their figure."""
    names = {column.name for column in COLUMNS}
    return table(
        ["column", "type", "unit", "what it is"],
        [
            [f"`{column.name}`", column.kind, column.unit, column.description]
            for column in COLUMNS
            if not (column.name.endswith(("_low", "_high")) and column.name.rpartition("_")[0] in names)
        ],
    )


def json_records(declared: Format) -> str:
    """The objects of a JSON format, each with its keys and their kinds."""
    parts = []
    for name in declared.used():
        record = declared.records[name]
        keys = ", ".join(f"`{key}` {kind}" for key, kind in record.fields.items())
        parts.append([f"`{name}`", record.description, keys])
    return table(["object", "what it is", "keys and kinds"], parts)


def layered_rooms(folder: str, contract: str) -> str:
    """Each package and module of a folder with its purpose; a row stands for a layer."""
    rows = []
    for number, names in enumerate(layers(contract), 1):
        for name in names:
            place = _ROOT / folder / name
            rows.append([str(number), f"`{name}/`" if place.is_dir() else f"`{name}.py`", _purpose(place)])
    return table(["layer", "room", "what it is for"], rows)


def rooms(folder: str) -> str:
    """Each sub-package of a folder with its purpose."""
    places = sorted(file.parent for file in (_ROOT / folder).glob("*/__init__.py"))
    return table(["room", "what it is for"], [[f"`{place.name}/`", _purpose(place)] for place in places])


#: Region name → its text. A page may hold any of them.
#: Sizes by which techniques judge a type of model on the page; any would do.
_SIZES: Final = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
}
#: Columns of the table of types of models: the technique, and settings that ask for one thing.
_ON_FAMILIES: Final[dict[str, tuple[str, dict[str, OptionValue]]]] = {
    "zeros": ("prune-wanda", {}),
    "RTN, GPTQ": ("quantize-gptq", {}),
    "AWQ": ("quantize-awq", {}),
    "SmoothQuant": ("quantize-smoothquant", {}),
    "rotation": ("quantize-rotate", {}),
    "`keep_mlp`": ("prune-structured", {"keep_mlp": 0.5}),
    "`keep_kv_heads`": ("prune-structured", {"keep_kv_heads": 1}),
    "`keep_layers`": ("prune-structured", {"keep_layers": 2}),
}


def technique_families() -> str:
    """What each technique does with each type of model, by what its ``check`` says; alike types in one row."""
    registry = default_registry()
    rows: dict[tuple[str, ...], list[str]] = {}
    for kind in (*sorted(ROLES), "another type"):
        cells: list[str] = []
        for name, asked in _ON_FAMILIES.values():
            technique = registry.technique(name)
            if not isinstance(technique, ArtifactTechnique):
                raise TypeError(f"'{name}' rewrites no checkpoint")
            settings = complete(technique.options, asked, lambda key: key)
            fault = technique.check(settings, {"model_type": kind, **_SIZES})
            cells.append("yes" if fault is None else "–")
        rows.setdefault(tuple(cells), []).append(f"`{kind}`" if kind in ROLES else kind)
    ordered = sorted(rows.items(), key=lambda row: (-row[0].count("yes"), row[1]))
    return table(("`model_type`", *_ON_FAMILIES), [(", ".join(kinds), *cells) for cells, kinds in ordered])


REGIONS: Final[dict[str, Callable[[], str]]] = {
    "rooms-core": lambda: layered_rooms("core/joulebench", "layers"),
    "rooms-plugins": lambda: rooms("plugins/joulebench_plugins"),
    "rooms-reports": lambda: layered_rooms("reports/joulebench_reports", "layers-reports"),
    "commands": command_reference,
    "columns-cells": cell_columns,
    "report-records": lambda: json_records(REPORT),
    "schema-version": lambda: f"Schema version: **{SCHEMA_VERSION}.{SCHEMA_MINOR}**.\n",
    "table-session": lambda: columns(schema.SESSION),
    **{
        f"table-{name}": (lambda fields=fields: columns(fields))  # type: ignore[misc]
        for name, fields in schema.CELL_TABLES.items()
    },
    **{
        f"struct-{name}": (lambda fields=fields: columns(fields))  # type: ignore[misc]
        for name, fields in schema.STRUCTS.items()
    },
    **{
        f"section-{name}": (lambda options=options: option_table(options))  # type: ignore[misc]
        for name, options in section_options().items()
    },
    "options-backend": lambda: plugin_options("backend"),
    "options-technique": lambda: plugin_options("technique"),
    "options-workload": lambda: plugin_options("workload"),
    "options-probe": lambda: plugin_options("probe"),
    "options-renderer": lambda: plugin_options("renderer"),
    "flags": flag_table,
    "fpga-published": lambda: table(PUBLISHED_HEADER, published_rows()),
    "fpga-boards": board_tables,
    "survey-table-1": survey_table,
    "survey-notes": survey_notes,
    **{f"survey-{place}": (lambda place=place: survey_family(place)) for place in ("2.1", "2.2", "2.4")},  # type: ignore[misc]
    "families": technique_families,
    "hooks": hook_reference,
    "contracts": contract_reference,
    "backendkit": lambda: module_reference(backendkit),
    "checkpoint": lambda: module_reference(checkpoint),
    "functions": lambda: function_reference(api),
    "api-version": lambda: f"Plugin API version: **{api.API_VERSION}**.\n",
    "classes": lambda: class_reference(IMPLEMENTED),
    "types": type_reference,
    "values": lambda: class_reference(VALUES),
}


def renewed(text: str) -> str:
    """A page with its generated regions made anew."""
    return _REGION.sub(lambda match: f"{match[1]}{REGIONS[match[2]]()}{match[3]}", text)


def json_schema(declared: Format) -> str:
    """A JSON format as JSON Schema."""
    return json.dumps(declared.schema(), indent=1, ensure_ascii=False) + "\n"


def regions_of(text: str) -> list[str]:
    """Names of the generated regions of a page."""
    return [match[2] for match in _REGION.finditer(text)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Renew every page, or check them."""
    parser = argparse.ArgumentParser(description="Renew the generated parts of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is stale")
    options = parser.parse_args(arguments)
    stale = []
    for page in sorted((*DOCS.glob("*.md"), *SCHEMAS)):
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        after = json_schema(SCHEMAS[page]) if page in SCHEMAS else renewed(before)
        if after != before:
            stale.append(page.name)
            if not options.check:
                page.write_text(after, encoding="utf-8")
    if stale:
        print(f"{'stale' if options.check else 'renewed'}: {', '.join(stale)}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
