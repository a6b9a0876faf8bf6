"""``joulebench models``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import echo_json, echo_table, json_option
from joulebench.commands.helping import CommandGroup


@click.group(cls=CommandGroup)
def models() -> None:
    """List, show, fetch and pin models that a profile can name."""


@models.command("list", epilog=examples("joulebench models list"))
@json_option
def list_models(as_json: bool) -> None:
    """List the catalogue's models, shapes and texts."""
    from joulebench.models.catalogue import read_catalogue
    from joulebench.models.fetch import wheel_file_path
    from joulebench.registry.loading import default_registry

    catalogue = read_catalogue(default_registry().profile_dirs())
    sources = {name: model.source for name, model in catalogue.models.items()}
    sources |= {name: text.source for name, text in catalogue.texts.items()}
    fetched = {name: wheel_file_path(source).is_file() for name, source in sources.items()}
    if as_json:
        echo_json(
            {
                "models": [{**asdict(model), "fetched": fetched[name]} for name, model in catalogue.models.items()],
                "shapes": [asdict(shape) for shape in catalogue.shapes.values()],
                "texts": [{**asdict(text), "fetched": fetched[name]} for name, text in catalogue.texts.items()],
            }
        )
        return
    rows = [
        [
            name,
            "model",
            "fetched" if fetched[name] else f"{model.source.size_bytes / 1e6:.0f} MB",
            model.licence,
            model.summary,
        ]
        for name, model in catalogue.models.items()
    ]
    rows += [[f"shape:{name}", "shape", "random", "", shape.summary] for name, shape in catalogue.shapes.items()]
    rows += [
        [
            f"catalogue:{name}",
            "text",
            "fetched" if fetched[name] else f"{text.source.size_bytes / 1e6:.0f} MB",
            text.licence,
            text.summary,
        ]
        for name, text in catalogue.texts.items()
    ]
    echo_table(rows, ["name", "kind", "state", "licence", "what it is"])
    click.echo(
        "also: path:DIR (HF format or a .gguf), hf:ORG/NAME@REVISION (:FILE.gguf for one file), shape:FILE.json#SEED"
    )
    click.echo("'joulebench models pin ORG/NAME' gives the revision of a model on the hub")


@models.command(
    "show", epilog=examples("joulebench models show smollm2-135m-instruct", "joulebench models show path:model.gguf")
)
@click.argument("source", shell_complete=completing.models)
@json_option
def show_model(source: str, as_json: bool) -> None:
    """Show facts about SOURCE: a catalogue name, path:DIR, hf:ORG/NAME@REV or shape:NAME."""
    from joulebench.models.catalogue import read_catalogue, resolve_model
    from joulebench.plan.modelnotes import described
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    catalogue = read_catalogue(registry.profile_dirs())
    converters = [registry.converter(name) for name in registry.names("converter")]
    ref = described(converters, resolve_model(source, catalogue, Path.cwd()))
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
    if as_json:
        echo_json(facts)
        return
    echo_table(_flat(facts))


def _flat(facts: dict[str, object], prefix: str = "") -> list[list[str]]:
    rows: list[list[str]] = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        elif value not in (None, ""):
            rows.append([prefix + key, str(value)])
    return rows


@models.command(
    "fetch",
    epilog=examples("joulebench models fetch smollm2-135m-instruct", "joulebench models fetch hf:ORG/NAME@REVISION"),
)
@click.argument("names", nargs=-1, required=True, shell_complete=completing.models)
def fetch_models(names: tuple[str, ...]) -> None:
    """Fetch models (and catalogue:TEXT texts) into the user's cache and check their hashes."""
    from joulebench.models.catalogue import obtain_model, read_catalogue, resolve_model, resolve_text
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    folders = registry.profile_dirs()
    catalogue = read_catalogue(folders)

    def say(text: str) -> None:
        click.echo(text, err=True)

    for name in names:
        if name.startswith("catalogue:"):
            click.echo(resolve_text(name, catalogue, folders, Path.cwd(), say))
        else:
            ref = resolve_model(name, catalogue, Path.cwd())
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
