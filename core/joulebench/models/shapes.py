"""Shapes: architectures without weights, whole or with some of their layers alone.

A shape's parameters are known without any model library where the catalogue counts them, so that a
plan can say whether it fits into memory before anything is made.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from joulebench.backendkit import cache_folder
from joulebench.errors import ModelError

#: Keys by which configurations of different architectures say how many layers they have.
LAYER_KEYS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_SEED: Final = re.compile(r"[0-9]{1,18}")
_LAYERS: Final = re.compile(r"layers=([1-9][0-9]{0,5})")
#: Numbers k of layers, k and 2k of which are measured in place of all, the best first.
_FEWER: Final = (8, 4, 2, 1)
#: Bytes of a number of the types in which shapes are made.
NUMBER_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}

#: Number types in which shapes can be made, beside the one that they are made in without a word.
_OTHER_DTYPES: Final = frozenset(NUMBER_BYTES) - {"float32"}


@dataclass(frozen=True, slots=True)
class ShapeSource:
    """``shape:NAME?layers=N#SEED``: a shape of the catalogue or a file, its layers and its seed."""

    name: str
    layers: int | None = None
    seed: int = 0

    @classmethod
    def parse(cls, source: str) -> ShapeSource:
        """Raises :class:`ModelError` where it is none."""
        rest, mark, seed = source.removeprefix("shape:").partition("#")
        if mark and not _SEED.fullmatch(seed):
            raise ModelError("the seed after # must be a whole number below 10^18", where=source)
        name, mark, query = rest.partition("?")
        match = _LAYERS.fullmatch(query)
        if mark and match is None:
            raise ModelError("after ? only layers=NUMBER is known", where=source, hint=f"shape:{name}?layers=8")
        return cls(name, None if match is None else int(match[1]), int(seed or 0))

    def written(self, shape: Shape) -> Path:
        """The folder of the cache that a converter makes the model from: its configuration and its seed."""
        text = json.dumps(dict(shape.config), indent=1, sort_keys=True)
        slug = re.sub(r"\W+", "-", self.name)[-40:]
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        folder = cache_folder() / "shapes" / f"{slug}-{digest}-{self.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        dtype = str(shape.config.get("dtype"))
        making = {"seed": self.seed, **({"dtype": dtype} if dtype in _OTHER_DTYPES else {})}
        for file, content in (("config.json", text), ("seed.json", json.dumps(making))):
            path = folder / file
            if not path.is_file():  # the folder's name is its content, so it is never written anew
                temporary = path.with_name(f".{file}.{os.getpid()}")
                temporary.write_text(content, encoding="utf-8")
                temporary.replace(path)
        return folder


def with_layers(source: str, layers: int) -> str:
    """The source of a shape with so many of its layers."""
    base, mark, seed = source.partition("#")
    return f"{base}?layers={layers}{mark}{seed}"


@dataclass(frozen=True, slots=True)
class ModelDepth:
    """How many layers a model of random weights has, of how many its shape has as a whole."""

    shape: str
    layers: int
    whole: int


@dataclass(frozen=True, slots=True)
class Shape:
    """An architecture without weights: a config, filled with random weights from a seed.

    ``layer_parameters`` are those of one layer (a mean over ``period`` layers, after which their
    pattern repeats).
    """

    name: str
    summary: str
    config: Mapping[str, Any]
    parameters: int | None = None
    layer_parameters: int | None = None
    period: int = 1

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any], above: Mapping[str, Shape]) -> Shape:
        """An entry of the catalogue; ``like`` takes over the config of a shape that was read before, key by key."""
        like = entry.get("like")
        inherited = above[like].config if like is not None else {}
        return cls(
            name=name,
            summary=entry.get("summary", ""),
            config={**inherited, **entry["config"]},
            parameters=entry.get("parameters"),
            layer_parameters=entry.get("layer_parameters"),
            period=entry.get("period", 1),
        )

    @property
    def layers(self) -> int | None:
        """Number of layers, where the config says it under a key that is known."""
        key = layer_key(self.config)
        return None if key is None else self.config[key]

    @property
    def size_bytes(self) -> int | None:
        """Size of its weights as they are made: in the config's number type."""
        width = NUMBER_BYTES.get(str(self.config.get("dtype", "float32")))
        return None if self.parameters is None or width is None else self.parameters * width

    def cut(self, layers: int) -> Shape:
        """The shape with only the first ``layers`` of its layers, at its full width.

        Raises :class:`ModelError` for more layers than it has, and for such that are not like the
        whole's.
        """
        key, whole, where = layer_key(self.config), self.layers, f"shape:{self.name}?layers={layers}"
        if key is None or whole is None:
            raise ModelError("has no number of layers that could be changed", where=where)
        if layers > whole:
            raise ModelError(f"has {whole} layers, not {layers}", where=where)
        if layers % self.period and layers != whole:
            raise ModelError(
                f"its layers differ in a pattern of {self.period}: their number must be a multiple of it",
                where=where,
                hint=f"for example layers={self.period * max(1, round(layers / self.period))}",
            )
        # What a config lists for each layer is listed for the first ones.
        lists = {name: value[:layers] for name, value in self.config.items() if is_per_layer(value, whole)}
        parameters = None
        if self.parameters is not None and self.layer_parameters is not None:
            parameters = self.parameters - (whole - layers) * self.layer_parameters
        return replace(self, config={**self.config, **lists, key: layers}, parameters=parameters)

    def deepest(self, room_bytes: float) -> int | None:
        """The largest number of layers whose weights take at most ``room_bytes``; ``None``: not one, or unknown."""
        whole, size_bytes = self.layers, self.size_bytes
        width = NUMBER_BYTES.get(str(self.config.get("dtype", "float32")))
        if whole is None or size_bytes is None or self.layer_parameters is None or width is None:
            return None
        rest_bytes = size_bytes - whole * self.layer_parameters * width
        layers = int((room_bytes - rest_bytes) // (self.layer_parameters * width))
        layers = min(layers - layers % self.period, whole)
        return layers if layers > 0 else None

    def depths(self, room_bytes: float) -> tuple[int, int] | None:
        """k and 2k layers from which the whole can be extrapolated, where 2k of them fit into ``room_bytes``."""
        deepest = self.deepest(room_bytes)
        if deepest is None or self.layers is None:
            return None
        fewest = (number * self.period for number in _FEWER)
        fitting = [number for number in fewest if 2 * number <= deepest and 2 * number < self.layers]
        return (fitting[0], 2 * fitting[0]) if fitting else None


def layer_key(config: Mapping[str, Any]) -> str | None:
    """The key under which a config says how many layers it has."""
    return next((key for key in LAYER_KEYS if type(config.get(key)) is int), None)


def is_per_layer(value: object, layers: int) -> bool:
    """Whether a config's value has an entry for each layer."""
    return isinstance(value, list) and len(value) == layers > 1
