"""Linear layers whose model multiplies with their weight itself, and never calls them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

#: An attribute of a tensor, such as its number type, is asked for.
_ATTRIBUTE: Final = "__get__"


def bare_weights(model: Any) -> list[torch.nn.Module]:
    """Layers that cannot become ones of another class, since their weights are taken out of them (Mamba's ``dt_proj``).

    The model runs over two tokens for it.
    """
    holders = [module for module in model.modules() if isinstance(module, (torch.nn.Linear, torch.nn.Embedding))]
    watching = _Watching(holders)
    hooks = [module.register_forward_pre_hook(watching.enter) for module in holders]
    hooks += [module.register_forward_hook(watching.leave) for module in holders]
    try:
        with torch.inference_mode(), watching:
            model(input_ids=torch.tensor([[0, 1]], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return [module for module in holders if isinstance(module, torch.nn.Linear) and id(module.weight) in watching.bare]


class _Watching(TorchFunctionMode):  # type: ignore[misc]
    """Notes weights that are used while none of the modules runs that have them."""

    def __init__(self, holders: Iterable[torch.nn.Module]) -> None:
        super().__init__()
        self._weights = {id(module.weight) for module in holders}
        #: The weight of the module that runs; none of them runs within another.
        self._running: int | None = None
        self.bare: set[int] = set()

    def enter(self, module: torch.nn.Module, _: Any) -> None:
        """A module begins to run."""
        self._running = id(module.weight)

    def leave(self, *_: Any) -> None:
        """It ends."""
        self._running = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") != _ATTRIBUTE or _asked_by_a_model(sys._getframe(1)):
            used = {id(argument) for argument in args}
            self.bare |= (used & self._weights) - {self._running}
        return func(*args, **(kwargs or {}))


def _asked_by_a_model(frame: FrameType) -> bool:
    """Whether the code is a model's own, and not the library's around it, which looks through all weights."""
    return Path(frame.f_code.co_filename).parent.parent.name == "models"
