"""Quantizes the linear layers of a loaded model in memory."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, Final

import torch

from joulebench.api import Settings
from joulebench.errors import ModelError, UnavailableError
from joulebench_plugins.torch.bareweights import bare_weights
from joulebench_plugins.torch.weightcount import note_packed
from joulebench_plugins.torch.weighttypes import INT4, INT4_ROWS, INT8, INT8_DYNAMIC, PLAIN, weights_fault

_GONE: Final = "install an older torch, or use another form of weights"


def quantize_weights(model: Any, device: str, settings: Settings) -> None:
    """Replace the matrices of all linear layers as ``weights`` says, in place.

    Embeddings, norms and biases stay as they are. Raises :class:`UnavailableError` for what this
    installation cannot do and :class:`ModelError` for a model that does not fit.
    """
    kind = str(settings["weights"])
    if kind == PLAIN:
        return
    fault = weights_fault(device, settings, {})
    if fault is not None:
        raise UnavailableError(fault)
    _make_plain(model)
    left = set(bare_weights(model))
    if not settings["weights_head"]:
        left.add(model.get_output_embeddings())
    if kind == INT8_DYNAMIC:
        _to_dynamic_int8(model, left)
    else:
        _by_torchao(model, kind, left, int(settings["weights_group"]))


def _make_plain(model: Any) -> None:
    """Make a ``Linear`` of whatever computes as one, such as GPT-2's transposed layers: quantizers take no others."""
    from transformers.pytorch_utils import Conv1D

    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            weight = module.weight.T.contiguous()
        elif isinstance(module, torch.nn.Linear) and type(module) is not torch.nn.Linear and _multiplies(module):
            weight = module.weight
        else:
            continue
        plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None, device="meta")
        plain.weight = torch.nn.Parameter(weight, requires_grad=False)
        plain.bias = module.bias
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, plain)


def _multiplies(module: torch.nn.Linear) -> bool:
    """Whether a kind of ``Linear`` does nothing else than one."""
    states = torch.ones((1, 2, module.in_features), dtype=module.weight.dtype, device=module.weight.device)
    with torch.inference_mode():
        try:
            result = module(states)
        except (TypeError, ValueError, RuntimeError):
            return False
        expected = torch.nn.functional.linear(states, module.weight, module.bias)
    return isinstance(result, torch.Tensor) and result.shape == expected.shape and result.allclose(expected)


def _to_dynamic_int8(model: Any, left: Collection[torch.nn.Module]) -> None:
    """int8 with a scale for each output; inputs are rounded to 8 bits at each call."""
    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
    except ImportError as error:  # announced since torch 2.10
        raise UnavailableError(f"torch {torch.__version__} has no dynamic quantization any more", hint=_GONE) from error
    spec: dict[Any, Any] = {torch.nn.Linear: per_channel_dynamic_qconfig}
    spec |= {name: None for name, module in model.named_modules() if module in left}
    with warnings.catch_warnings():
        # torch announces that this will be dropped, and that torchao follows it: which has no int8
        # kernels for one token on a CPU.
        warnings.simplefilter("ignore")
        quantize_dynamic(model, spec, inplace=True)
        note_packed(model)


def _by_torchao(model: Any, kind: str, left: Collection[torch.nn.Module], group: int) -> None:
    """Weights alone in few bits: the kernels take them apart and multiply in floating point."""

    def fits(module: Any) -> bool:
        return kind != INT4 or not (module.in_features % group or module.out_features % INT4_ROWS)

    def chosen(module: Any, _: str) -> bool:
        return isinstance(module, torch.nn.Linear) and module not in left and fits(module)

    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module not in left]
    if not any(fits(module) for module in linears):
        raise ModelError(
            f"weights_group = {group} does not divide the inputs of any linear layer",
            hint="set a smaller weights_group",
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torchao.quantization import quantize_

            config = _config(kind, group)
        except ImportError as error:
            raise UnavailableError(
                f"the installed torchao cannot hold weights as {kind}: {error}",
                hint="pip install 'joulebench[torchao]' brings a version that was tried",
            ) from error
        quantize_(model, config, filter_fn=chosen)


def _config(kind: str, group: int) -> Any:
    if kind == INT8:
        from torchao.quantization import Int8WeightOnlyConfig

        return Int8WeightOnlyConfig()
    # The public configurations of int4 have no kernels for a CPU.
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

    return PrototypeInt4WeightOnlyConfig(group_size=group)
