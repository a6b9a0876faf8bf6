"""The catalogue's shapes are what they say: parameters counted on the meta device, where nothing is allocated."""

from __future__ import annotations

import pytest

from joulebench.models.catalogue import Catalogue, read_catalogue
from joulebench.models.shapes import Shape
from joulebench.registry.loading import default_registry

pytestmark = pytest.mark.slow

#: How far a shape may be from the published number of parameters, which is rounded or counts heads as well.
_PUBLISHED = 0.02


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(default_registry().profile_dirs())


def stating(catalogue: Catalogue) -> dict[str, Shape]:
    """The shapes that state their parameters: all but the tiny ones, which fit anywhere."""
    return {name: shape for name, shape in catalogue.shapes.items() if shape.parameters is not None}


def counted(shape: Shape) -> int:
    """Parameters of transformers' model of a shape, tied ones once."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = dict(shape.config)
    made = transformers.CONFIG_MAPPING[config.pop("model_type")](**config)
    with torch.device("meta"):
        model = getattr(transformers, shape.config["architectures"][0])(made)
    model.tie_weights()
    return sum(weight.numel() for weight in {id(weight): weight for weight in model.parameters()}.values())


def test_every_shape_has_the_parameters_that_it_states(catalogue: Catalogue) -> None:
    stated = stating(catalogue)
    assert len(stated) > 30
    assert {name: counted(shape) for name, shape in stated.items()} == {
        name: shape.parameters for name, shape in stated.items()
    }


def test_with_fewer_layers_they_are_as_many_less(catalogue: Catalogue) -> None:
    wrong = []
    for name, shape in stating(catalogue).items():
        cut = shape.cut(shape.period)
        assert cut.parameters is not None
        # Zamba's layers are of two kinds, and their number is no multiple of the pattern.
        if counted(cut) != pytest.approx(cut.parameters, rel=0.1 if (shape.layers or 0) % shape.period else 0):
            wrong.append(name)
    assert wrong == []


def test_published_models_have_the_parameters_of_their_shape(catalogue: Catalogue) -> None:
    apart = {}
    for model in catalogue.published.values():
        if model.shape is None or model.parameters is None:
            continue
        share = (catalogue.shapes[model.shape].parameters or 0) / model.parameters - 1
        if abs(share) > _PUBLISHED:
            apart[model.name] = share
    assert apart == {}
