"""Quantizes the linear layers of a loaded model in memory."""

from __future__ import annotations

import warnings
from typing import Any, Final

import torch

from joulebench.api import Settings
from joulebench.errors import ModelError, UnavailableError
from joulebench_plugins.torch.weightcount import note_packed
from joulebench_plugins.torch.weighttypes import INT4, INT8, INT8_DYNAMIC, PLAIN, weights_fault

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
    head = None if settings["weights_head"] else model.get_output_embeddings()
    if kind == INT8_DYNAMIC:
        _to_dynamic_int8(model, head)
    else:
        _by_torchao(model, kind, head, int(settings["weights_group"]))


def _to_dynamic_int8(model: Any, left: Any) -> None:
    """int8 with a scale for each output; inputs are rounded to 8 bits at each call."""
    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
    except ImportError as error:  # announced since torch 2.10
        raise UnavailableError(f"torch {torch.__version__} has no dynamic quantization any more", hint=_GONE) from error
    spec: dict[Any, Any] = {torch.nn.Linear: per_channel_dynamic_qconfig}
    spec |= {name: None for name, module in model.named_modules() if module is left}
    with warnings.catch_warnings():
        # torch announces that this will be dropped, and that torchao follows it: which has no int8
        # kernels for one token on a CPU.
        warnings.simplefilter("ignore")
        quantize_dynamic(model, spec, inplace=True)
        note_packed(model)


def _by_torchao(model: Any, kind: str, left: Any, group: int) -> None:
    """Weights alone in few bits: the kernels take them apart and multiply in floating point."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and kind == INT4 and module.in_features % group:
            raise ModelError(
                f"weights_group = {group} does not divide the {module.in_features} inputs of '{name}'",
                hint="set a smaller weights_group",
            )

    def chosen(module: Any, _: str) -> bool:
        return isinstance(module, torch.nn.Linear) and module is not left

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
