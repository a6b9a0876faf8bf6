"""What a model's weights are held as in memory, whatever classes hold them, and their kernels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass

from joulebench.api import Scalar
from joulebench.weightkit import bits_per_weight, counted, joined, patterns, shares, tally

#: Attribute of a layer whose numbers its kernel has packed out of sight: see note_packed.
_NOTE: Final = "joulebench_held"
#: Operators that multiply whole numbers of 8 bits.
_INT8_OPERATORS: Final = frozenset({"quantized.linear_dynamic", "aten._int_mm"})
#: Types of the numbers of a matrix that was not packed.
_FLOATS: Final = frozenset({"float32", "bfloat16", "float16"})
#: Parts of the names of operators that multiply matrices, not only arrange them.
_PRODUCT_WORDS: Final = ("mm", "linear", "matmul")


@dataclass(frozen=True, slots=True)
class Held:
    """A weight as its layer holds it; ``size_bytes`` with its scales and zero points."""

    owner: Any
    kind: str
    shape: tuple[int, ...]
    size_bytes: int
    #: Layers that it serves: more than one where they share it.
    uses: int = 1

    @property
    def count(self) -> int:
        """How many numbers it stands for."""
        return math.prod(self.shape)


def note_packed(model: Any) -> None:
    """Note at each layer of torch.ao what was given to its kernel, which shows none of it.

    Unpacked once, here: it makes a copy. A scale and a zero point for each output take 4 bytes
    each in the packed form (torch, native/quantized/cpu/fbgemm_utils.h).
    """
    for module in model.modules():
        packed = getattr(module, "_packed_params", None)
        if isinstance(packed, torch.nn.Module):
            weight, bias = packed._weight_bias()
            scales = 8 * (weight.shape[0] if weight.qscheme() == torch.per_channel_affine else 1)
            size = weight.numel() * weight.element_size() + scales
            size += 0 if bias is None else bias.nbytes
            setattr(module, _NOTE, Held(module, _word(weight.dtype), tuple(weight.shape), size))


def held_weights(model: Any) -> list[Held]:
    """All weights of a model or a layer; a matrix that several layers share once."""
    weights: list[Held] = []
    seen: set[int] = set()
    uses = Counter(
        id(parameter)
        for _, module in model.named_modules(remove_duplicate=False)
        if not isinstance(module, torch.nn.Embedding)
        for parameter in module.parameters(recurse=False)
    )
    for module in model.modules():
        note = getattr(module, _NOTE, None)
        if note is not None:
            weights.append(note)
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                size = sum(tensor.nbytes for tensor in plain_tensors(parameter))
                times = max(uses[id(parameter)], 1)
                weights.append(Held(module, _kind(parameter), tuple(parameter.shape), size, times))
    return weights


def can_train(model: Any) -> bool:
    """Whether all weights are plain tensors of floating-point numbers."""
    return not packed_bytes(model) and all(
        parameter.is_floating_point() and not is_traceable_wrapper_subclass(parameter)
        for parameter in model.parameters()
    )


def packed_bytes(model: Any) -> int:
    """Bytes of what is in no parameter, since kernels have packed it."""
    notes = (getattr(module, _NOTE, None) for module in model.modules())
    return sum(note.size_bytes for note in notes if note is not None)


def plain_tensors(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors with memory of their own that a tensor consists of."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from plain_tensors(getattr(tensor, name))


def only_looked_up(weight: Held, head: Any) -> bool:
    """Whether a weight is an embedding that does not serve as the output head as well."""
    return isinstance(weight.owner, torch.nn.Embedding) and getattr(head, "weight", None) is not weight.owner.weight


def weight_facts(model: Any) -> dict[str, Scalar]:
    """Types, bits and layers of the weights, and how a linear layer and the head compute."""
    weights, head = held_weights(model), model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    matrices = [weight for weight in weights if len(weight.shape) == 2 and not only_looked_up(weight, head)]
    runs = [_watched(layer, model) for layer in _linear_layers(model, head)]
    parameters = _parameters(model, weights, embedding, head)
    return {
        "dtype": joined(matrix.kind for matrix in matrices),
        "compute": joined(run.computed_in for run in runs) or None,
        "weights_kernel": joined(name for run in runs for name in run.products) or None,
        "output_type": joined(run.output for run in runs) or None,
        "linear_modules": tally(_class_of(linear) for linear in _linears(model)),
        "weight_types": shares(counted((weight.kind, weight.count) for weight in weights)),
        "bits_per_weight": bits_per_weight(sum(weight.size_bytes for weight in weights), parameters),
        "embedding_type": _type_of(embedding, weights),
        "head_type": _type_of(head, weights) or _type_of(embedding, weights),
        "parameters": parameters,
        "left_alone": None if can_train(model) else _left_alone(model, embedding),
    }


def _left_alone(model: Any, embedding: Any) -> str:
    """Matrices, and what has more axes, that are floating-point numbers in a model with packed ones; no embedding."""
    float_names = [
        f"{name}.{leaf}" if name else leaf
        for name, module in model.named_modules()
        if module is not embedding
        for leaf, weight in module.named_parameters(recurse=False)
        if weight.ndim > 1 and _kind(weight) in _FLOATS
    ]
    return patterns(float_names)


def _parameters(model: Any, weights: list[Held], embedding: Any, head: Any) -> int:
    """The model's own number of weights: a head that was parted from its embedding adds none."""
    total = sum(weight.count for weight in weights)
    if not getattr(model.config, "tie_word_embeddings", False):
        return total
    apart = [weight for weight in weights if weight.owner is head and head is not embedding]
    return total - sum(weight.count for weight in apart if len(weight.shape) == 2)


def _type_of(layer: Any, weights: list[Held]) -> str | None:
    kinds = (weight.kind for weight in weights if weight.owner is layer and len(weight.shape) == 2)
    return next(kinds, None)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(tensor: torch.Tensor) -> str:
    """The tensor's type, or for one that packs others the bits of what it mostly consists of."""
    if not is_traceable_wrapper_subclass(tensor):
        return _word(tensor.dtype)
    main = max(plain_tensors(tensor), key=lambda part: part.nbytes)
    if main.dtype.is_floating_point:
        return _word(main.dtype)
    return f"int{round(8 * main.nbytes / tensor.numel())}"


# -- kernels ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of a layer: operators that multiplied, the type they computed in, and came out."""

    products: tuple[str, ...]
    computed_in: str
    output: str


class _Listener(TorchDispatchMode):  # type: ignore[misc]
    """Keeps the names of all operators that run meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(".".join(str(func).split(".")[:2]))
        return func(*args, **(kwargs or {}))


def _linears(model: Any) -> Iterator[Any]:
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) or hasattr(module, _NOTE):
            yield module


def _class_of(layer: Any) -> str:
    """How a layer calls itself, with the class of its weight where that is no plain tensor."""
    name, weight = str(layer._get_name()), getattr(layer, "weight", None)
    plain = not isinstance(weight, torch.Tensor) or not is_traceable_wrapper_subclass(weight)
    return name if plain else f"{name}[{type(weight).__name__}]"


def _linear_layers(model: Any, head: Any) -> list[Any]:
    """The first linear layer, which stands for all within the decoder, and the head."""
    first = next((linear for linear in _linears(model) if linear is not head), None)
    return [layer for layer in (first, head) if layer is not None and hasattr(layer, "in_features")]


def _watched(layer: Any, model: Any) -> _Run:
    with torch.inference_mode():
        inputs = torch.zeros((1, 1, layer.in_features), dtype=model.dtype, device=model.device)
        with _Listener() as heard:
            result = layer(inputs)
    products = tuple(name for name in dict.fromkeys(heard.names) if any(part in name for part in _PRODUCT_WORDS))
    whole = _INT8_OPERATORS.intersection(products)
    return _Run(products, "int8" if whole else _word(inputs.dtype), _word(result.dtype))
