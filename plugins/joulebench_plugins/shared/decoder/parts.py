"""A block's tensors by the names of its modules, whatever files call them, and the rows of each role."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import torch

from joulebench_plugins.shared.decoder.changes import Changes
from joulebench_plugins.shared.decoder.model import Decoder, Linear
from joulebench_plugins.shared.decoder.roles import Roles
from joulebench_plugins.shared.llama.shape import LayerShape

_ATTENTION: Final = ("query", "key", "value")
_MLP: Final = ("gate", "up")


class Rows(NamedTuple):
    """Outputs of a linear layer: all of them, or those of one role where several are in one matrix."""

    module: str
    start: int | None
    stop: int | None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """These rows of the layer's weight or bias: a view."""
        return tensor[self.start : self.stop]


def rows_of(roles: Roles, shape: LayerShape, role: str) -> Rows:
    """The rows of ``query``, ``key``, ``value``, ``gate`` or ``up``; the role must be known."""
    beside = _ATTENTION if role in _ATTENTION else _MLP
    widths = {
        "query": shape.query_width,
        "key": shape.kv_width,
        "value": shape.kv_width,
        "gate": shape.intermediate_size,
        "up": shape.intermediate_size,
    }
    module = getattr(roles, role)
    together = [other for other in beside if getattr(roles, other) == module]
    if together == [role]:
        return Rows(module, None, None)
    start = sum(widths[other] for other in together[: together.index(role)])
    return Rows(module, start, start + widths[role])


class BlockTensors:
    """Weights as float32 matrices (outputs, inputs), biases and norms as vectors; what is put is kept as changed."""

    def __init__(self, decoder: Decoder, changes: Changes, block: int) -> None:
        self._decoder, self._changes = decoder, changes
        self._prefix = decoder.prefix(block)
        self.linears: dict[str, Linear] = {
            linear.module: linear
            for linear in decoder.linears
            if linear.block == block and linear.source.expert is None
        }

    def there(self, modules: Iterable[str]) -> list[str]:
        """Those of ``modules`` that are linear layers of this block."""
        return [module for module in modules if module in self.linears]

    def has(self, name: str) -> bool:
        """Whether the block has a tensor of this name."""
        return self._decoder.tensor_of(self._prefix + name) is not None

    def get(self, name: str) -> torch.Tensor:
        """A tensor by its name inside of the block, float32."""
        module, _, kind = name.rpartition(".")
        if kind == "weight" and module in self.linears:
            return self._changes.matrix(self.linears[module]).float()
        return self._changes.read(self._file(name)).float()

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Take ``tensor`` in place of one of the block's."""
        module, _, kind = name.rpartition(".")
        if kind == "weight" and module in self.linears:
            self._changes.put(self.linears[module], tensor)
        else:
            self._changes.tensors[self._file(name)] = tensor.contiguous()

    def cut(self, name: str, axis: int, places: torch.Tensor) -> None:
        """Keep these rows (0) or columns (1) of a tensor, in its number type."""
        module, _, kind = name.rpartition(".")
        if kind == "weight":
            linear = self.linears[module]
            self._changes.put(linear, self._changes.matrix(linear).index_select(axis, places))
        else:
            file = self._file(name)
            self._changes.tensors[file] = self._changes.read(file).index_select(axis, places)

    def _file(self, name: str) -> str:
        file = self._decoder.tensor_of(self._prefix + name)
        if file is None:
            raise KeyError(name)
        return file
