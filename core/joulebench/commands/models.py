"""``joulebench models``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import echo_json, echo_table, json_option
from joulebench.commands.helping import CommandGroup
from joulebench.models.published import KINDS

if TYPE_CHECKING:
    from joulebench.models.catalogue import Catalogue, CatalogueModel, CatalogueText
    from joulebench.models.published import PublishedModel
    from joulebench.plan.feasibility import Feasibility
    from joulebench.registry.loading import Registry

#: What the catalogue brings or fetches itself, beside published models.
_LISTED: Final = (*KINDS, "model", "shape", "text")


@click.group(cls=CommandGroup)
def models() -> None:
    """List, show, fetch and pin models that a profile can name."""


@models.command(
    "list",
    epilog=examples("joulebench models list", "joulebench models list --table1", "joulebench models list --kind shape"),
)
@click.option(
    "--kind",
    type=click.Choice(_LISTED),
    help="Only published decoders, encoders, models of other attention or multimodal ones; or what "
    "the catalogue brings: model, shape or text.",
)
@click.option("--table1", is_flag=True, help="Only the models of the survey's Table 1, with its numbers recomputed.")
@json_option
def list_models(kind: str | None, table1: bool, as_json: bool) -> None:
    """List the models that the catalogue knows and how each runs here, its shapes and its texts.

    Ratio is training tokens for each parameter, ALScore is √(parameters · tokens) / 300 in billions, both
    of the papers' numbers; with --table1 of the survey's as well.
    """
    from joulebench.models.catalogue import read_catalogue
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    catalogue = read_catalogue(registry.profile_dirs())
    published = [
        model
        for model in catalogue.published.values()
        if kind in (None, model.kind) and (model.survey is not None or not table1)
    ]
    if as_json:
        echo_json(_listed_json(registry, catalogue, published, None if table1 else kind))
        return
    _print_published(registry, catalogue, published, table1)
    if table1 or kind in KINDS:
        return
    if kind is None:
        click.echo()
    rows = [row for row in _shipped(catalogue) if kind in (None, row[1])]
    echo_table(rows, ["name", "kind", "state", "licence", "what it is"])
    click.echo(
        "also: path:DIR (HF format, or a model's files), path:FILE, hf:ORG/NAME@REVISION (:FILE for one file), "
        "shape:FILE.json#SEED"
    )
    click.echo("'joulebench models pin ORG/NAME' gives the revision of a model on the hub")


def _print_published(
    registry: Registry, catalogue: Catalogue, published: Sequence[PublishedModel], table1: bool
) -> None:
    from joulebench.plan.feasibility import FeasibilityJudge

    if not published:
        return
    judge = FeasibilityJudge(registry, catalogue)
    header = ["model", "kind", "parameters", "ratio", "ALScore", *(["survey"] if table1 else []), "runs", "why"]
    rows = []
    for model in published:
        feasible = judge.judge(model)
        how = (
            feasible.way
            if feasible.layers is None
            else f"{feasible.way} from {feasible.layers[0]}, {feasible.layers[1]}"
        )
        printed = [_survey_text(model)] if table1 else []
        numbers = [_billions(model.parameters_b), _digits(model.ratio), _digits(model.alscore)]
        rows.append([model.name, _kind_text(model), *numbers, *printed, how, feasible.why])
    echo_table(rows, header)


def _kind_text(model: PublishedModel) -> str:
    return f"{model.kind}, MoE" if model.is_mixture else model.kind


def _survey_text(model: PublishedModel) -> str:
    """What the survey prints of a model, and what its own numbers give."""
    row = model.survey
    if row is None:
        return ""
    ratio = f"{_digits(model.survey_ratio)}" + ("" if row.ratio is None else f" (printed {row.ratio})")
    return f"{row.parameters_b:g} / {row.tokens_b:g}: {ratio}, {_digits(model.survey_alscore)}"


def _billions(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.3g} B" if value >= 1 else f"{1e3 * value:,.3g} M"


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def _shipped(catalogue: Catalogue) -> list[list[str]]:
    """What the catalogue brings or fetches itself, a row each."""
    from joulebench.models.fetch import wheel_file_path

    def row(name: str, kind: str, item: CatalogueModel | CatalogueText) -> list[str]:
        size = f"{item.source.size_bytes / 1e6:.0f} MB"
        state = "fetched" if wheel_file_path(item.source).is_file() else size
        return [name, kind, state, item.licence, item.summary]

    return [
        *(row(name, "model", model) for name, model in catalogue.models.items()),
        *([f"shape:{name}", "shape", "random", "", shape.summary] for name, shape in catalogue.shapes.items()),
        *(row(f"catalogue:{name}", "text", text) for name, text in catalogue.texts.items()),
    ]


def _listed_json(
    registry: Registry, catalogue: Catalogue, published: Sequence[PublishedModel], kind: str | None
) -> dict[str, object]:
    from joulebench.models.fetch import wheel_file_path
    from joulebench.plan.feasibility import FeasibilityJudge

    def entry(item: CatalogueModel | CatalogueText) -> dict[str, object]:
        return {**asdict(item), "fetched": wheel_file_path(item.source).is_file()}

    judge = FeasibilityJudge(registry, catalogue)
    listed: dict[str, object] = {
        "published": [_published_json(model, judge.judge(model)) for model in published],
        "models": [entry(model) for model in catalogue.models.values()],
        "shapes": [asdict(shape) for shape in catalogue.shapes.values()],
        "texts": [entry(text) for text in catalogue.texts.values()],
    }
    if kind is None:
        return listed
    return {"published": listed["published"]} if kind in KINDS else {f"{kind}s": listed[f"{kind}s"]}


def _published_json(model: PublishedModel, feasible: Feasibility) -> dict[str, object]:
    computed = {
        "ratio": model.ratio,
        "alscore": model.alscore,
        "survey_ratio": model.survey_ratio,
        "survey_alscore": model.survey_alscore,
    }
    return {**asdict(model), **computed, "runs": asdict(feasible)}


@models.command(
    "show",
    epilog=examples(
        "joulebench models show opt-175b",
        "joulebench models show smollm2-135m-instruct",
        "joulebench models show path:model.gguf",
    ),
)
@click.argument("source", shell_complete=completing.models)
@json_option
def show_model(source: str, as_json: bool) -> None:
    """Show facts about SOURCE: a name of the catalogue, path:DIR, hf:ORG/NAME@REV or shape:NAME."""
    from joulebench.models.catalogue import read_catalogue
    from joulebench.plan.feasibility import FeasibilityJudge
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    catalogue = read_catalogue(registry.profile_dirs())
    model = catalogue.published.get(source)
    if model is None:
        facts = _source_facts(source, registry, catalogue)
    else:
        facts = _published_json(model, FeasibilityJudge(registry, catalogue).judge(model))
    if as_json:
        echo_json(facts)
        return
    echo_table(_flat(facts))


def _source_facts(source: str, registry: Registry, catalogue: Catalogue) -> dict[str, object]:
    """What is known of a model as a profile names it."""
    from joulebench.models.catalogue import resolve_model
    from joulebench.plan.modelnotes import described, file_formats

    converters = [registry.converter(name) for name in registry.names("converter")]
    ref = described(converters, resolve_model(source, catalogue, Path.cwd(), file_formats(converters)))
    facts = {**asdict(ref), "config": dict(ref.config) if ref.config else None}
    if ref.file is not None:
        # The type that an importer would write is none of the file's.
        facts["config"] = {key: value for key, value in (ref.file_config or {}).items() if key != "dtype"}
        facts["file"] = {
            "parts": [path.name for path in ref.file.files],
            "numbers": ref.file.numbers,
            "tokenizer": ref.file.tokenizer,
        }
    if source in catalogue.models:
        facts["catalogue"] = asdict(catalogue.models[source])
    return facts


def _flat(facts: dict[str, object], prefix: str = "") -> list[list[str]]:
    rows: list[list[str]] = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
            rows += [[prefix + key if place == 0 else "", item] for place, item in enumerate(value)]
        elif value not in (None, "", (), False):
            rows.append([prefix + key, f"{value:,.4g}" if isinstance(value, float) else str(value)])
    return rows


@models.command(
    "fetch",
    epilog=examples("joulebench models fetch smollm2-135m-instruct", "joulebench models fetch hf:ORG/NAME@REVISION"),
)
@click.argument("names", nargs=-1, required=True, shell_complete=completing.models)
def fetch_models(names: tuple[str, ...]) -> None:
    """Fetch models (and catalogue:TEXT texts) into the user's cache and check their hashes."""
    from joulebench.models.catalogue import obtain_model, read_catalogue, resolve_model, resolve_text
    from joulebench.plan.modelnotes import file_formats
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    folders = registry.profile_dirs()
    catalogue = read_catalogue(folders)

    def say(text: str) -> None:
        click.echo(text, err=True)

    formats = file_formats(registry.converter(name) for name in registry.names("converter"))
    for name in names:
        if name.startswith("catalogue:"):
            click.echo(resolve_text(name, catalogue, folders, Path.cwd(), say))
        else:
            ref = resolve_model(name, catalogue, Path.cwd(), formats)
            click.echo(obtain_model(ref, catalogue, Path.cwd(), say).path)


@models.command(
    "pin",
    epilog=examples("joulebench models pin HuggingFaceTB/SmolLM2-360M-Instruct", "joulebench models pin ORG/NAME@v1.0"),
)
@click.argument("name", metavar="ORG/NAME[@BRANCH]")
def pin_model(name: str) -> None:
    """Print the source hf:ORG/NAME@REVISION of a hub model as it is now, for a profile.

    The hub is asked for the commit of the branch or tag (by default main); nothing is fetched.
    HF_ENDPOINT names another hub, HF_TOKEN gives access to a gated model.
    """
    from joulebench.models.hub import pinned

    pin = pinned(name)
    for note in pin.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(pin.source)
