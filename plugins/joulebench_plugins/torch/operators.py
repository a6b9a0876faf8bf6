"""A model's own operators, as a decode step uses them: a llama's one by one, of another model its layers whole.

Each kernel goes from layer to layer, from one call to the next, as a decode step does: no call
finds its weights in a cache because the call before it has used the same ones. The modules and
functions are those that transformers itself runs.

What a decode step does besides: choosing the token, the tables of sine and cosine, the attention
mask, and the Python between the modules.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from joulebench.api import Kernel
from joulebench.errors import JoulebenchError
from joulebench_plugins.torch.hardware import repeated
from joulebench_plugins.torch.states import Reader
from joulebench_plugins.torch.weightcount import held_weights
from joulebench_plugins.torch.wholelayers import whole_layers


def model_operators(
    model: Any, reader: Reader, context: int, *, static_positions: int | None, device: torch.device
) -> list[Kernel]:
    """The operators of one token after ``context`` positions.

    ``static_positions`` is the size of a static cache, which attention then walks over whole, its
    unused part masked; ``None`` for a cache that grows.
    """
    layers = _llama_layers(model)
    if layers is None:
        if static_positions is not None:
            raise JoulebenchError(
                f"the operators of a {type(model).__name__} are known with a growing cache only",
                hint="set cache = 'dynamic'",
            )
        return whole_layers(model, reader, context, device)
    with torch.inference_mode():
        shapes = _Shapes.of(model, context, static_positions, device)
        return [*_linears(layers, model, shapes), *_attention(layers, shapes), *_elementwise(model, layers, shapes)]


#: The modules of a llama's layer and of its parts. Another module in a layer is an operator that is not known
#: here, and the sum would lack it.
_LAYER: Final = {
    "": {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"},
    "self_attn": {"q_proj", "k_proj", "v_proj", "o_proj"},
    "mlp": {"gate_proj", "up_proj", "down_proj", "act_fn"},
}


def _llama_layers(model: Any) -> Any:
    """The layers of a model that consists of a llama's modules; of another, ``None``."""
    layers = getattr(getattr(model, "model", None), "layers", None) or []
    first = {
        part: set(dict(module.named_children()))
        for layer in layers[:1]
        for part, module in [("", layer), *layer.named_children()]
        if part in _LAYER
    }
    return layers if first == _LAYER else None


@dataclass(frozen=True, slots=True)
class _Shapes:
    """One token's activations and what the session says of its cache."""

    hidden: torch.Tensor
    heads: int
    kv_heads: int
    head_size: int
    context: int
    static_positions: int | None
    device: torch.device

    @classmethod
    def of(cls, model: Any, context: int, static_positions: int | None, device: torch.device) -> _Shapes:
        config = model.config
        hidden = torch.randn((1, 1, config.hidden_size), device=device).to(model.dtype)
        attention = model.model.layers[0].self_attn
        return cls(
            hidden,
            config.num_attention_heads,
            config.num_key_value_heads,
            attention.head_dim,
            context,
            static_positions,
            device,
        )

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.device).to(self.hidden.dtype)

    def cycle(self, calls: Sequence[Callable[[], object]]) -> Callable[[int], None]:
        """Runs the calls one after another in a circle, going on where the last run ended."""
        endless = itertools.cycle(calls)

        def once() -> object:
            return next(endless)()

        return repeated(once, self.device)


def _linears(layers: Any, model: Any, shapes: _Shapes) -> list[Kernel]:
    per_layer = {
        name: [getattr(getattr(layer, part), name) for layer in layers]
        for part, names in (
            ("self_attn", ("q_proj", "k_proj", "v_proj", "o_proj")),
            ("mlp", ("gate_proj", "up_proj", "down_proj")),
        )
        for name in names
    }
    per_layer["head"] = [model.lm_head]
    return [_linear(name, modules, shapes) for name, modules in per_layer.items()]


def _linear(name: str, modules: Sequence[Any], shapes: _Shapes) -> Kernel:
    rows, columns = modules[0].out_features, modules[0].in_features
    inputs = shapes.random(1, 1, columns)
    parameters = sum(weight.size_bytes for weight in held_weights(modules[0]))
    return Kernel(
        name,
        shapes.cycle([partial(module, inputs) for module in modules]),
        parameters + inputs.nbytes + rows * inputs.element_size(),
        2 * rows * columns,
        len(modules),
        f"{rows} × {columns}",
    )


def _attention(layers: Any, shapes: _Shapes) -> list[Kernel]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

    first = layers[0].self_attn
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(first.config._attn_implementation, eager_attention_forward)
    read = shapes.context + 1  # what stands before, and the token itself
    allocated = shapes.static_positions or read
    query = shapes.random(1, shapes.heads, 1, shapes.head_size)
    new = shapes.random(1, shapes.kv_heads, 1, shapes.head_size)
    caches = [tuple(shapes.random(1, shapes.kv_heads, allocated, shapes.head_size) for _ in range(2)) for _ in layers]
    mask = None
    if shapes.static_positions is not None:
        mask = torch.zeros((1, 1, 1, allocated), dtype=query.dtype, device=shapes.device)
        mask[..., read:] = torch.finfo(query.dtype).min

    def attention(layer: Any, keys: torch.Tensor, values: torch.Tensor) -> object:
        return attend(layer.self_attn, query, keys, values, mask, dropout=0.0, scaling=first.scaling)

    cosine, sine = (shapes.random(1, 1, shapes.head_size) for _ in range(2))
    itemsize = query.element_size()
    cached_bytes = 2 * new.nbytes * read
    rotated = query.numel() + new.numel()
    return [
        Kernel(
            "attention",
            shapes.cycle(
                [partial(attention, layer, keys, values) for layer, (keys, values) in zip(layers, caches, strict=True)]
            ),
            cached_bytes + 2 * query.nbytes,
            # query × keys and weights × values: a multiply and an add for each
            4 * query.numel() * read,
            len(layers),
            f"{first.config._attn_implementation}, {shapes.context} positions before",
        ),
        Kernel(
            "cache_update",
            shapes.cycle([_append(keys, values, new, shapes) for keys, values in caches]),
            4 * new.nbytes,
            0,
            len(layers),
            "index_copy" if shapes.static_positions else "cat: copies what stands before",
        ),
        Kernel(
            "rotary",
            shapes.cycle([lambda: apply_rotary_pos_emb(query, new, cosine, sine)]),
            2 * rotated * itemsize + cosine.nbytes + sine.nbytes,
            3 * rotated,  # x·cos + rotated(x)·sin
            len(layers),
        ),
    ]


def _append(keys: torch.Tensor, values: torch.Tensor, new: torch.Tensor, shapes: _Shapes) -> Callable[[], object]:
    """What the session's kind of cache does with the keys and values of a new position."""
    if shapes.static_positions is not None:
        at = torch.tensor([shapes.context], device=shapes.device)
        return lambda: (keys.index_copy_(2, at, new), values.index_copy_(2, at, new))
    old_keys, old_values = keys[:, :, : shapes.context], values[:, :, : shapes.context]
    # contiguous, as transformers' own cache is
    old_keys, old_values = old_keys.contiguous(), old_values.contiguous()
    return lambda: (torch.cat([old_keys, new], dim=-2), torch.cat([old_values, new], dim=-2))


def _elementwise(model: Any, layers: Any, shapes: _Shapes) -> list[Kernel]:
    hidden = shapes.hidden
    other = shapes.random(*hidden.shape)
    act = layers[0].mlp.act_fn
    width = layers[0].mlp.gate_proj.out_features
    gate, up = shapes.random(1, 1, width), shapes.random(1, 1, width)
    norms = [norm for layer in layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)] + [
        model.model.norm
    ]
    table = model.model.embed_tokens
    rows = table.weight.shape[0]
    # Far apart, so that no two rows share a page: which are read, the text decides.
    ids = [torch.tensor([[row]], device=shapes.device) for row in range(0, rows, -(-rows // 64))]
    row_bytes = table.weight.nbytes // rows
    return [
        Kernel(
            "norm",
            shapes.cycle([partial(norm, hidden) for norm in norms]),
            3 * hidden.nbytes,
            4 * hidden.numel(),  # square, sum, scale, weight
            len(norms),
        ),
        Kernel("embedding", shapes.cycle([partial(table, id_) for id_ in ids]), 2 * row_bytes, 0, 1),
        Kernel(
            "silu_mul",
            shapes.cycle([lambda: act(gate) * up]),
            3 * gate.nbytes,
            5 * gate.numel(),  # negate, exp, add, divide; multiply
            len(layers),
        ),
        Kernel(
            "residual_add", shapes.cycle([lambda: hidden + other]), 3 * hidden.nbytes, hidden.numel(), 2 * len(layers)
        ),
    ]
