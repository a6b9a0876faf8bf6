"""What one decoded token has to move and to compute, counted from a model's own tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from joulebench.api import Traffic
from joulebench_plugins.torch.memory import cache_bytes, state_bytes
from joulebench_plugins.torch.states import Reader
from joulebench_plugins.torch.weightcount import Held, held_weights, only_looked_up

#: How configurations name the experts that a layer has, and those of them that a token uses.
_EXPERTS: Final = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_USED: Final = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk")
#: Tokens that are read to see what a cache keeps of each.
_TRIED: Final = 2


@dataclass(frozen=True, slots=True)
class TokenTraffic:
    """Traffic, and why something in it is not known."""

    traffic: Traffic
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class _Experts:
    """The experts of a layer, and how many of them a token uses."""

    count: int
    used: int


def count_traffic(model: Any, reader: Reader) -> TokenTraffic:
    """Bytes and operations of one token.

    Of experts, those count that a token uses; they are of one size, whichever the text chooses. A matrix that
    several layers share is read once and multiplied by each.
    """
    config = model.config.get_text_config(decoder=True)
    if reader.interface.argument is None:
        return TokenTraffic(Traffic(), "the model keeps nothing, so each token reads the whole text again")
    if config is not model.config:
        return TokenTraffic(Traffic(), "a model of several parts, of which text uses some")
    kv_bytes, unknown = _kv_position_bytes(model, reader)
    experts = _experts_of(config)
    if experts is not None and not experts.used:
        return TokenTraffic(Traffic(kv_position_bytes=kv_bytes), "how many experts a token uses is not in its config")
    head = model.get_output_embeddings()
    counted = Traffic(
        weights_bytes=read_bytes(model, model),
        kv_position_bytes=kv_bytes,
        operations=round(
            sum(2 * _share(weight, experts) * weight.count * weight.uses for weight in _matrices(model, head))
        ),
        head_operations=0 if head is None else 2 * _elements(head),
    )
    return TokenTraffic(counted, unknown)


def read_bytes(module: Any, model: Any) -> int | None:
    """Bytes of the weights of a model, or of one of its modules, that a token reads."""
    experts = _experts_of(model.config.get_text_config(decoder=True))
    if experts is not None and not experts.used:
        return None
    head = model.get_output_embeddings()
    total = 0.0
    for weight in held_weights(module):  # a tied matrix comes once
        if only_looked_up(weight, head):
            total += weight.size_bytes / weight.shape[0]
        else:
            total += _share(weight, experts) * weight.size_bytes
    return round(total)


def _matrices(model: Any, head: Any) -> list[Held]:
    """The weights that a token is multiplied with, not scales or a recurrence's rates."""
    return [weight for weight in held_weights(model) if _multiplies(weight) and not only_looked_up(weight, head)]


def _experts_of(config: Any) -> _Experts | None:
    counts = (getattr(config, name, None) for name in _EXPERTS)
    count = next((count for count in counts if count), None)
    if count is None:
        return None
    used = (getattr(config, name, None) for name in _USED)
    return _Experts(int(count), int(next((number for number in used if number), 0)))


def _share(weight: Held, experts: _Experts | None) -> float:
    """The part of a weight that a token uses."""
    own = experts is not None and _is_of_experts(weight) and weight.shape[0] == experts.count
    return experts.used / experts.count if experts is not None and own else 1.0


def _is_of_experts(weight: Held) -> bool:
    return "Experts" in type(weight.owner).__name__


def _multiplies(weight: Held) -> bool:
    if _is_of_experts(weight):
        return len(weight.shape) > 2  # a row for each expert is a bias
    return len(weight.shape) >= 2 and (hasattr(weight.owner, "weight") or hasattr(weight.owner, "_packed_params"))


def _elements(head: Any) -> int:
    """How many numbers an output head multiplies."""
    if hasattr(head, "in_features"):
        return int(head.in_features * head.out_features)
    return int(head.weight.numel())


def _kv_position_bytes(model: Any, reader: Reader) -> tuple[int | None, str | None]:
    """What each position adds to what is read, seen at the cache after a text of a few tokens."""
    memory = reader.new()
    with torch.inference_mode():
        _, memory = reader.read(torch.zeros((1, _TRIED), dtype=torch.long, device=model.device), memory, last=True)
    state = state_bytes(memory)
    if state:
        return None, f"states of {state} bytes are read and written anew with each token, whatever the context"
    layers = getattr(memory, "layers", [])
    if any(getattr(layer, "is_sliding", False) for layer in layers):
        return None, "some layers see a window only"
    return cache_bytes(memory) // _TRIED, None
