"""The operators of a model whose layers are no llama's: its layers whole, and what stands before and after them.

A decode step is run once with listeners at these modules; a kernel then calls one of them again with what it got then.
Before each call a layer's cache is put back to what it held before that step, so that the context stays what it was;
states of convolutions and recurrences go on.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from joulebench.api import Kernel
from joulebench.errors import JoulebenchError
from joulebench_plugins.torch.hardware import repeated
from joulebench_plugins.torch.memory import STATES, cache_bytes
from joulebench_plugins.torch.states import Reader
from joulebench_plugins.torch.traffic import read_bytes
from joulebench_plugins.torch.weightcount import held_weights

#: What grows in a layer's cache with each token.
_GROWING: Final = ("keys", "values", "cumulative_length")


@dataclass(frozen=True, slots=True)
class _Call:
    """A module of a decode step with what it was called with."""

    module: Any
    positional: tuple[object, ...]
    named: Mapping[str, object]

    def again(self) -> object:
        return self.module(*self.positional, **self.named)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's call, its part of the cache, and what that held before."""

    call: _Call
    stored: Any
    before: Mapping[str, object]

    def again(self) -> None:
        vars(self.stored).update(self.before)
        self.call.again()


def whole_layers(model: Any, reader: Reader, context: int, device: torch.device) -> list[Kernel]:
    """Each kind of layer, the embedding, the last norm and the head, for a token after ``context`` positions."""
    decoder = _decoder(model)
    if decoder is None or not reader.interface.takes_cache:
        raise JoulebenchError(
            f"the layers of a {type(model).__name__} cannot be run one by one",
            hint="leave the workload 'operators' out",
        )
    layers = next(part for part in decoder.children() if _is_list_of(part, _layer_count(model)))
    ends = _ends(model, decoder)
    with torch.inference_mode():
        text = torch.zeros((1, context), dtype=torch.long, device=device)
        _, memory = reader.read(text, reader.new(), last=True)
        held = [_held(stored) for stored in memory.layers]
        at = torch.full((1, 1), context, device=device)
        with _listening([*layers, *(module for modules in ends.values() for module in modules)]) as calls:
            reader.read(text[:, :1], memory, at, last=True)
    kinds: dict[str, list[_Layer]] = {}
    for layer, stored, before in zip(layers, memory.layers, held, strict=False):
        call = calls.get(id(layer))
        if call is None:
            raise JoulebenchError(f"a layer of a {type(model).__name__} is not run in a decode step")
        kinds.setdefault(_kind(layer, stored), []).append(_Layer(call, stored, before))
    names = ["layer"] if len(kinds) == 1 else [f"layer_{number}" for number in range(1, len(kinds) + 1)]
    return [
        *(_layer_kernel(name, same, model, device) for name, same in zip(names, kinds.values(), strict=True)),
        *(
            _end_kernel(name, [calls[id(module)] for module in modules], model, device)
            for name, modules in ends.items()
        ),
    ]


def _decoder(model: Any) -> Any:
    """The module that has the list of as many layers as the configuration says, and what stands around them."""
    count = _layer_count(model)
    for module in model.base_model.modules():
        if any(_is_list_of(part, count) for part in module.children()):
            return module
    return None


def _layer_count(model: Any) -> int | None:
    count = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    return count if isinstance(count, int) else None


def _is_list_of(module: Any, count: int | None) -> bool:
    return isinstance(module, torch.nn.ModuleList) and len(module) == count


def _ends(model: Any, decoder: Any) -> dict[str, list[Any]]:
    """What a token passes before and after the layers, by the operator's name."""
    norms = [module for name, module in decoder.named_children() if "norm" in name or name.startswith("ln_")]
    ends = {"embedding": [model.get_input_embeddings()], "norm": norms, "head": [model.get_output_embeddings()]}
    return {name: [module for module in modules if module is not None] for name, modules in ends.items()}


@contextlib.contextmanager
def _listening(modules: Sequence[Any]) -> Iterator[dict[int, _Call]]:
    """The last call of each module, by its identity."""
    calls: dict[int, _Call] = {}

    def heard(module: Any, positional: tuple[object, ...], named: Mapping[str, object]) -> None:
        calls[id(module)] = _Call(module, positional, dict(named))

    handles = [module.register_forward_pre_hook(heard, with_kwargs=True) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _kind(layer: Any, stored: Any) -> str:
    """Layers of one kind keep the same and have weights of the same names and shapes."""
    weights = [f"{name} {tuple(parameter.shape)}" for name, parameter in layer.named_parameters()]
    return " ".join([type(stored).__name__, type(layer).__name__, *weights])


def _held(stored: Any) -> dict[str, object]:
    """The keys and values of a layer's cache; an update makes new ones and leaves these alone."""
    return {name: value for name, value in vars(stored).items() if name in _GROWING}


def _layer_kernel(name: str, layers: Sequence[_Layer], model: Any, device: torch.device) -> Kernel:
    first = layers[0]
    weights_bytes = read_bytes(first.call.module, model)
    kept_bytes = cache_bytes([first.before, [getattr(first.stored, name, None) for name in STATES]])
    return Kernel(
        name,
        _in_turn([layer.again for layer in layers], device),
        None if weights_bytes is None else weights_bytes + kept_bytes,
        None,
        len(layers),
        ", ".join(part for part, _ in first.call.module.named_children()),
    )


def _end_kernel(name: str, calls: Sequence[_Call], model: Any, device: torch.device) -> Kernel:
    head = model.get_output_embeddings()
    module = calls[0].module
    row = module.weight.nbytes // module.weight.shape[0]
    moved = 2 * row if name == "embedding" else sum(weight.size_bytes for weight in held_weights(module))
    multiplied = 2 * head.weight.numel() if name == "head" and hasattr(head, "weight") else None
    return Kernel(name, _in_turn([call.again for call in calls], device), moved, multiplied, len(calls))


def _in_turn(calls: Sequence[Callable[[], object]], device: torch.device) -> Callable[[int], None]:
    """Runs the calls one after another in a circle, going on where the last run ended."""
    endless = itertools.cycle(calls)

    def once() -> object:
        return next(endless)()

    return repeated(once, device)
