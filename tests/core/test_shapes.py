"""Shapes: what a source says, some of the layers of a whole, and what fits into memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebench.errors import ModelError
from joulebench.models.catalogue import Catalogue, obtain_model, resolve_model, shape_of
from joulebench.models.shapes import ModelDepth, Shape, ShapeSource, with_layers

CONFIG = {"num_hidden_layers": 6, "layer_types": list("abcdef"), "sizes": [1, 2], "dtype": "bfloat16"}
SIX = Shape("six", "", CONFIG, parameters=1000, layer_parameters=100)
CATALOGUE = Catalogue({}, {"six": SIX, "pairs": Shape("pairs", "", CONFIG, 1000, 100, period=2)}, {})


@pytest.mark.parametrize(
    ("source", "meaning"),
    [
        ("shape:x", ShapeSource("x")),
        ("shape:x#7", ShapeSource("x", seed=7)),
        ("shape:x?layers=3", ShapeSource("x", 3)),
        ("shape:x?layers=3#7", ShapeSource("x", 3, 7)),
    ],
)
def test_a_source_names_a_shape_its_layers_and_its_seed(source: str, meaning: ShapeSource) -> None:
    assert ShapeSource.parse(source) == meaning


@pytest.mark.parametrize("query", ["", "layers=", "layers=0", "layers=-1", "layers=1.5", "depth=3", "layers=1&x=2"])
def test_what_is_no_number_of_layers_is_refused(query: str) -> None:
    with pytest.raises(ModelError, match="only layers=NUMBER"):
        ShapeSource.parse(f"shape:x?{query}")


def test_layers_come_before_the_seed() -> None:
    assert with_layers("shape:x#7", 4) == "shape:x?layers=4#7"
    assert with_layers("shape:x", 4) == "shape:x?layers=4"


def test_fewer_layers_have_the_same_width_and_what_is_listed_for_each_of_them() -> None:
    cut = SIX.cut(4)
    assert cut.config == {**CONFIG, "num_hidden_layers": 4, "layer_types": list("abcd")}
    assert (cut.parameters, cut.size_bytes) == (800, 1600)
    assert SIX.cut(6) == SIX


def test_gpt_2s_key_of_layers_is_known() -> None:
    assert Shape("gpt", "", {"n_layer": 12}).cut(3).config == {"n_layer": 3}


@pytest.mark.parametrize(
    ("shape", "layers", "words"),
    [
        (SIX, 7, "has 6 layers, not 7"),
        (CATALOGUE.shapes["pairs"], 3, "must be a multiple"),
        (Shape("none", "", {}), 1, "no number of layers"),
    ],
)
def test_layers_that_are_not_like_the_wholes_are_refused(shape: Shape, layers: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        shape.cut(layers)


def test_a_model_of_some_layers_is_known_with_its_depth_and_made_apart(cache: Path, tmp_path: Path) -> None:
    ref = resolve_model("shape:six?layers=2#1", CATALOGUE, tmp_path)
    assert ref.depth == ModelDepth("six", 2, 6)
    assert ref.weights_bytes == 1200
    assert shape_of(ref, CATALOGUE) == SIX.cut(2)
    paths = {
        obtain_model(resolve_model(source, CATALOGUE, tmp_path), CATALOGUE, tmp_path, print).path
        for source in ("shape:six?layers=2", "shape:six?layers=4", "shape:six", "shape:six?layers=6")
    }
    assert len(paths) == 3, "all layers are the shape itself"


def test_how_many_layers_fit_is_known_without_making_any() -> None:
    # 400 parameters beside the layers, two bytes each.
    assert SIX.deepest(800 + 3 * 200) == 3
    assert SIX.deepest(10_000) == 6
    assert SIX.deepest(999) is None
    assert Shape("unknown", "", CONFIG).deepest(10_000) is None
    assert CATALOGUE.shapes["pairs"].deepest(800 + 3 * 200) == 2


def test_k_and_twice_as_many_layers_fit_and_are_fewer_than_the_whole() -> None:
    assert SIX.depths(800 + 4 * 200) == (2, 4)
    assert SIX.depths(10_000) == (2, 4)
    assert SIX.depths(800 + 200) is None
