"""A checkpoint's model by transformers without its weights: its blocks, and the linear layers in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from joulebench.errors import ModelError
from joulebench_plugins.shared.decoder.filetensors import Origin, Read, origins

#: Last parts of the names of layers that choose experts; they are as small as they are sensitive.
_ROUTERS: Final = frozenset({"gate", "router", "wg"})


class Source(NamedTuple):
    """Whose input it is: a parameter of the model, and where it holds several matrices which of them."""

    parameter: str
    expert: int | None = None


class Linear(NamedTuple):
    """One matrix of a block as it lies in the files."""

    #: Its tensor's name in the files.
    tensor: str
    block: int
    #: The name inside of its block of the module that multiplies with it.
    module: str
    source: Source
    #: Whether the file has it as (inputs, outputs).
    transposed: bool = False
    #: Its place along the tensor's first axis, where that holds several.
    slice: int | None = None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The matrix, (outputs, inputs), in its tensor: a view."""
        matrix = tensor if self.slice is None else tensor[self.slice]
        return matrix.T if self.transposed else matrix

    def columns(self, shape: Sequence[int]) -> int:
        """Its inputs, by its tensor's shape."""
        return shape[-2 if self.transposed else -1]


class Decoder:
    """The model that a folder's ``config.json`` describes, with files of tensors of these ``names``.

    Parameters have no numbers until :meth:`fill` gives them some. Raises :class:`ModelError` where transformers
    does not take the configuration or the model has no blocks.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder, self._names = folder, tuple(names)
        self.model = _empty_model(folder)
        self.block_prefix, self.blocks = _blocks(self.model, folder)
        self._origins = list(origins(self.model, self._names))

    @cached_property
    def linears(self) -> tuple[Linear, ...]:
        """All linear layers within the blocks, block by block, in the order of the files' names."""
        return tuple(sorted(self._linears(), key=lambda linear: linear.block))

    @property
    def embedding(self) -> str:
        """The embedding's tensor in the files."""
        return self.required(self._parameter_of(self.model.get_input_embeddings()))

    @property
    def head_parameter(self) -> str:
        """The output head's weight, by its name in the model."""
        return self._parameter_of(self.model.get_output_embeddings())

    @property
    def head(self) -> str | None:
        """The output head's tensor in the files, ``None`` where the embedding serves as one."""
        return self.tensor_of(self.head_parameter)

    def required(self, parameter: str) -> str:
        """As :meth:`tensor_of`; raises :class:`ModelError` where there is none."""
        tensor = self.tensor_of(parameter)
        if tensor is None:
            raise ModelError(f"lacks the tensor '{parameter}'", where=str(self._folder))
        return tensor

    def tensor_of(self, parameter: str) -> str | None:
        """The tensor in the files that is this parameter and nothing else, by its name in the model."""
        return self._single.get(parameter)

    @cached_property
    def _single(self) -> dict[str, str]:
        return {
            origin.parameter: origin.tensors[0][0]
            for origin in self._origins
            if origin.converter is None and len(origin.tensors) == 1
        }

    def fill(self, prefix: str, read: Read) -> None:
        """Give the parameters whose names begin with ``prefix`` their numbers, in float32."""
        for origin in self._origins:
            if origin.parameter.startswith(prefix):
                for name, value in origin.parameters(self.model, read).items():
                    self._set(name, value)
        tied = self.model.all_tied_weights_keys
        for name, parameter in list(self._within(prefix)):
            if parameter.is_meta:
                self._set(name, read(self.required(tied.get(name, name))))

    def fill_outside(self, read: Read, ids: Iterable[int]) -> None:
        """Fill what the blocks need to be reached by these token ids: no output head, and no other rows of tables."""
        head, used = self.model.get_output_embeddings(), torch.tensor(sorted(ids))
        rows = len(self.model.get_input_embeddings().weight)
        for origin in self._origins:
            owner, _, _ = origin.parameter.rpartition(".")
            module = self.model.get_submodule(owner)
            if origin.parameter.startswith(self.block_prefix) or module is head:
                continue
            for name, value in origin.parameters(self.model, read).items():
                table = isinstance(module, torch.nn.Embedding) and len(value) == rows
                self._set(name, _with_rows(value, used) if table else value)

    def empty(self, prefix: str) -> None:
        """Free the numbers of parameters whose names begin with ``prefix``."""
        for name, parameter in list(self._within(prefix)):
            module, _, leaf = name.rpartition(".")
            owner = self.model.get_submodule(module)
            owner._parameters[leaf] = torch.nn.Parameter(parameter.to("meta"), requires_grad=False)

    def prefix(self, block: int) -> str:
        """What the names of a block's parameters begin with."""
        return f"{self.block_prefix}{block}."

    def renumbered(self, places: Mapping[int, int]) -> dict[str, str]:
        """The files' tensors without the blocks that have no new place, by the names that they have then."""
        inside = {
            name: int(origin.parameter.removeprefix(self.block_prefix).partition(".")[0])
            for origin in self._origins
            if origin.parameter.startswith(self.block_prefix)
            for name, _ in origin.tensors
        }
        names: dict[str, str] = {}
        for name in self._names:
            block = inside.get(name)
            if block is None:
                names[name] = name
            elif block in places:
                head, _, tail = name.partition(f".{block}.")
                names[f"{head}.{places[block]}.{tail}"] = name
        return names

    def _parameter_of(self, module: torch.nn.Module) -> str:
        return next(f"{name}.weight" for name, other in self.model.named_modules() if other is module)

    def _within(self, prefix: str) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, value) for name, value in self.model.named_parameters() if name.startswith(prefix))

    def _set(self, name: str, value: torch.Tensor) -> None:
        module, _, leaf = name.rpartition(".")
        owner = self.model.get_submodule(module)
        known = owner._parameters.get(leaf, owner._buffers.get(leaf))
        if known is None or known.shape != value.shape:
            shape = None if known is None else tuple(known.shape)
            raise ModelError(
                f"tensor '{name}' is {tuple(value.shape)}; config.json says {shape}", where=str(self._folder)
            )
        if leaf in owner._buffers:
            owner._buffers[leaf] = value.to(known.dtype)
        else:
            owner._parameters[leaf] = torch.nn.Parameter(value.float(), requires_grad=False)

    def _linears(self) -> Iterator[Linear]:
        for origin in self._origins:
            if not origin.parameter.startswith(self.block_prefix) or not origin.keeps_inputs:
                continue
            inside = origin.parameter.removeprefix(self.block_prefix)
            number, _, rest = inside.partition(".")
            module, _, _ = rest.rpartition(".")
            owner = self.blocks[int(number)].get_submodule(module)
            parameter = owner._parameters.get(origin.parameter.rpartition(".")[2])
            if parameter is None:
                continue  # a buffer
            if self._is_linear(owner, module) and origin.parameter.endswith(".weight"):
                for tensor, _ in origin.tensors:
                    yield Linear(tensor, int(number), module, Source(origin.parameter), _is_transposed(owner))
            elif _holds_experts(owner, parameter):
                yield from self._experts(origin, int(number), module, len(parameter), _is_transposed(owner))

    def _experts(self, origin: Origin, block: int, module: str, count: int, transposed: bool) -> Iterator[Linear]:
        for tensor, _ in origin.tensors:
            if origin.stacks:
                source = Source(origin.parameter, origin.place(tensor))
                yield Linear(tensor, block, module, source, transposed)
            else:
                for expert in range(count):
                    yield Linear(tensor, block, module, Source(origin.parameter, expert), transposed, expert)

    def _is_linear(self, owner: torch.nn.Module, module: str) -> bool:
        from transformers.pytorch_utils import Conv1D

        if not isinstance(owner, (torch.nn.Linear, Conv1D)):
            return False
        leaf = module.rpartition(".")[2]
        counts = {value for key, value in self.model.config.to_dict().items() if "expert" in key}
        return not (leaf in _ROUTERS and owner.weight.shape[0] in counts)


def _with_rows(table: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """The table in float32, of which only the used rows have numbers, and memory."""
    sparse = torch.empty(table.shape, dtype=torch.float32)
    sparse[used] = table[used].float()
    return sparse


def _empty_model(folder: Path) -> Any:
    """The causal model with parameters on the device ``meta`` and real buffers, such as tables of rotations."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        # Experts one after another, each with its own matrix, so that what each reads can be seen.
        config._experts_implementation = "eager"
        with _parameters_on_meta(), no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise ModelError(f"transformers does not take it: {error}", where=str(folder / "config.json")) from None
    return model.eval()


@contextlib.contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Modules that are made meanwhile have parameters without numbers."""
    register = torch.nn.Module.register_parameter

    def without_numbers(self: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = torch.nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(self, name, parameter)

    torch.nn.Module.register_parameter = without_numbers
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register


def _blocks(model: Any, folder: Path) -> tuple[str, torch.nn.ModuleList]:
    """(what the blocks' names begin with, the blocks): the list of modules with the most parameters."""
    decoder = model.get_decoder()
    lists: dict[str, torch.nn.ModuleList] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and not any(name.startswith(outer) for outer in lists):
            lists[f"{name}."] = module
    inner = {name: blocks for name, blocks in lists.items() if any(blocks is module for module in decoder.modules())}
    sizes = {name: sum(weight.numel() for weight in blocks.parameters()) for name, blocks in (inner or lists).items()}
    if not sizes:
        raise ModelError(f"'{model.config.model_type}' has no list of blocks", where=str(folder / "config.json"))
    prefix = max(sizes, key=lambda name: sizes[name])
    return prefix, lists[prefix]


def _is_transposed(owner: torch.nn.Module) -> bool:
    """Whether a module multiplies with (inputs, outputs)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(owner, Conv1D) or bool(getattr(owner, "is_transposed", False))


def _holds_experts(owner: torch.nn.Module, parameter: torch.Tensor) -> bool:
    return parameter.ndim == 3 and "expert" in type(owner).__name__.lower()
