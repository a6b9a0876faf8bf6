"""The sizes of the model that structured pruning makes. Plain arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from joulebench.api import Settings
from joulebench_plugins.shared.decoder.roles import HEADS, LAYERS, key_of, layer_shape, roles_of
from joulebench_plugins.shared.llama.configuration import UnfitModelError
from joulebench_plugins.shared.llama.shape import LayerShape

#: What :func:`~joulebench_plugins.shared.decoder.roles.roles_of` is asked for.
NEEDED: Final = "the parts of a layer that go together"


def slimmer(config: Mapping[str, object], settings: Settings) -> LayerShape:
    """The shape that is left. Raises :class:`UnfitModelError` where it is none that can be had."""
    roles, kind = roles_of(config, NEEDED), config.get("model_type")
    if not (roles.up or roles.output):
        raise UnfitModelError(f"{NEEDED} are not known for models of type '{kind}'")
    shape = layer_shape(config)
    if not {"keep_mlp", "keep_kv_heads", "keep_layers"} & set(settings):
        raise UnfitModelError("set one of keep_mlp, keep_kv_heads and keep_layers")
    if "keep_mlp" in settings and not (roles.up and roles.width):
        raise UnfitModelError(f"keep_mlp is not for models of type '{kind}', whose MLP has no width of its own")
    if "keep_kv_heads" in settings and not (roles.output and roles.own_head_size):
        raise UnfitModelError(f"keep_kv_heads is not for models of type '{kind}', whose heads cannot go alone")
    if "keep_layers" in settings and roles.by_number:
        raise UnfitModelError(f"keep_layers is not for models of type '{kind}', whose layers differ by their numbers")
    kv_heads = int(settings.get("keep_kv_heads", shape.num_key_value_heads))
    layers = int(settings.get("keep_layers", shape.num_hidden_layers))
    for name, kept, there in (
        ("keep_kv_heads", kv_heads, shape.num_key_value_heads),
        ("keep_layers", layers, shape.num_hidden_layers),
    ):
        if kept > there:
            raise UnfitModelError(f"{name} is {kept}; the model has {there}")
    heads = kv_heads * shape.group
    if kv_heads != shape.num_key_value_heads and shape.hidden_size % heads:
        fitting = [
            str(kv_heads)
            for kv_heads in range(1, shape.num_key_value_heads)
            if shape.hidden_size % (kv_heads * shape.group) == 0
        ]
        raise UnfitModelError(
            f"keep_kv_heads = {kv_heads} leaves {heads} heads, which do not divide the hidden size "
            f"{shape.hidden_size}; possible: {', '.join(fitting) or 'none'}"
        )
    made = replace(
        shape,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=_width(shape, settings),
    )
    if made == shape:
        raise UnfitModelError("these settings keep all of the model")
    return made


def _width(shape: LayerShape, settings: Settings) -> int:
    """The MLP's width: the nearest multiple (of two the wider), at most what is there."""
    if "keep_mlp" not in settings or float(settings["keep_mlp"]) == 1:
        return shape.intermediate_size
    multiple = int(settings["mlp_multiple"])
    if multiple > shape.intermediate_size:
        raise UnfitModelError(f"mlp_multiple is {multiple}; the MLP is {shape.intermediate_size} wide")
    exact = float(settings["keep_mlp"]) * shape.intermediate_size
    nearest = int(exact / multiple + 0.5) * multiple
    return min(max(multiple, nearest), shape.intermediate_size)


def smaller_config(
    config: Mapping[str, object], target: LayerShape, kept: Sequence[int] | None = None
) -> dict[str, object]:
    """``config.json`` of the smaller model; the head's size is no longer hidden size / heads.

    ``kept`` are the layers that stay; without, as many from the first one on.
    """
    roles, shape = roles_of(config, NEEDED), layer_shape(config)
    smaller = {**config, key_of(config, LAYERS): target.num_hidden_layers}
    if target.num_attention_heads != shape.num_attention_heads:
        smaller |= {
            key_of(config, HEADS): target.num_attention_heads,
            "num_key_value_heads": target.num_key_value_heads,
            "head_dim": target.head_dim,
        }
    if target.intermediate_size != shape.intermediate_size:
        smaller[roles.width] = target.intermediate_size
    for key, values in config.items():
        # What is stated layer by layer, such as layer_types.
        if isinstance(values, list) and "layer" in key and len(values) == shape.num_hidden_layers:
            smaller[key] = [values[layer] for layer in (kept or range(target.num_hidden_layers))]
    return smaller
