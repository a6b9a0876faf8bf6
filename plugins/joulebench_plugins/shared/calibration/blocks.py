"""Runs calibration through a decoder's blocks, one block's weights in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from joulebench.errors import ModelError
from joulebench_plugins.shared.calibration.forwards import Call, Forwards
from joulebench_plugins.shared.decoder.filetensors import Read
from joulebench_plugins.shared.decoder.model import Decoder, Linear, Source

#: Takes the inputs of a matrix on one sequence, float32, (tokens, inputs).
See = Callable[[Source, torch.Tensor], None]
_PRODUCTS: Final = frozenset(
    {torch.nn.functional.linear, torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.__matmul__}
)


class Block:
    """A block of a decoder, and what it is called with on each sequence. Its weights are those that ``read`` gives."""

    def __init__(self, decoder: Decoder, index: int, calls: Sequence[Call], read: Read) -> None:
        self.index, self.calls = index, calls
        self._decoder, self._read = decoder, read
        self._outputs: list[Any] | None = None

    @property
    def linears(self) -> list[Linear]:
        """Its linear layers."""
        return [linear for linear in self._decoder.linears if linear.block == self.index]

    def run(self) -> list[Any]:
        """What the block gives for each sequence, a tensor or a tuple that begins with one; it runs once."""
        if self._outputs is None:
            with self._weights() as module:
                self._outputs = [_forward(module, call) for call in self.calls]
        return self._outputs

    def influence(self) -> float:
        """Block Influence (arXiv 2403.03853): 1 - mean cosine of a token's state before and after the block."""
        states = [output[0] if isinstance(output, tuple) else output for output in self.run()]
        pairs = zip((call.states for call in self.calls), states, strict=True)
        return 1 - float(torch.cat([torch.cosine_similarity(*pair, dim=-1)[0] for pair in pairs]).mean())

    @contextlib.contextmanager
    def _weights(self) -> Iterator[torch.nn.Module]:
        """The module, with its weights meanwhile."""
        prefix = self._decoder.prefix(self.index)
        self._decoder.fill(prefix, self._read)
        try:
            yield self._decoder.blocks[self.index]
        finally:
            self._decoder.empty(prefix)

    def watch(self, see: See) -> dict[Source, Source]:
        """Run all sequences and show each distinct input of the linear layers.

        Returns, for each layer whose input was seen, the first one that has the same.
        """
        shared: dict[Source, Source] = {}
        with contextlib.ExitStack() as stack:
            module = stack.enter_context(self._weights())
            watching = _Watching(shared, see)
            for linear in self.linears:
                owner = module.get_submodule(linear.module)
                if linear.source.expert is None:
                    hook = owner.register_forward_pre_hook(watching.hook(linear.source), with_kwargs=True)
                    stack.callback(hook.remove)
                else:
                    watching.stacks[linear.source.parameter] = self._decoder.model.get_parameter(
                        linear.source.parameter
                    )
            if watching.stacks:
                stack.enter_context(watching)
            for call in self.calls:
                watching.sequence()
                _forward(module, call)
        return shared


def _forward(module: torch.nn.Module, call: Call) -> Any:
    return type(module).forward(module, *call.args, **call.kwargs)


class _Watching(TorchFunctionMode):  # type: ignore[misc]
    """Shows inputs of modules by hooks, and of experts by the products with their slices of one parameter."""

    def __init__(self, shared: dict[Source, Source], see: See) -> None:
        super().__init__()
        self._shared, self._see = shared, see
        self.stacks: dict[str, torch.Tensor] = {}
        #: Inputs of the sequence at hand; held, so that none takes another's place in memory.
        self._inputs: dict[tuple[object, ...], tuple[Source, torch.Tensor]] = {}

    def sequence(self) -> None:
        """The next one begins."""
        self._inputs.clear()

    def hook(self, source: Source) -> Callable[[torch.nn.Module, tuple[Any, ...], Mapping[str, Any]], None]:
        """A hook for the module whose input it is."""

        def seen(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            self._show(source, args[0] if args else next(iter(kwargs.values())))

        return seen

    def _show(self, source: Source, states: torch.Tensor) -> None:
        place = (states.data_ptr(), states.shape, states.stride())
        first, _ = self._inputs.setdefault(place, (source, states))
        first = self._shared.setdefault(source, first)
        if first == source:
            self._see(source, states.reshape(-1, states.shape[-1]))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _PRODUCTS and len(args) > 1:
            self._expert(args[0], args[1])
        return func(*args, **(kwargs or {}))

    def _expert(self, states: torch.Tensor, weight: torch.Tensor) -> None:
        for name, stack in self.stacks.items():
            offset = weight.data_ptr() - stack.data_ptr()
            if 0 <= offset < stack.nbytes and len(states):
                self._show(Source(name, offset // stack[0].nbytes), states)


def walk(decoder: Decoder, sequences: Sequence[Sequence[int]], read: Read, where: str) -> Iterator[Block]:
    """The blocks in order; each is run with the weights that ``read`` gives after the caller had it.

    Raises :class:`ModelError` where the model cannot be run so.
    """
    table = decoder.model.get_input_embeddings().weight
    largest = max(max(sequence) for sequence in sequences)
    if largest >= len(table):
        raise ModelError(f"its tokenizer gives the id {largest}; the embedding has {len(table)} rows", where=where)
    decoder.fill_outside(read, set().union(*sequences))
    seen: set[int] = set()
    try:
        with Forwards(decoder.model.base_model, decoder.blocks, sequences) as forwards:
            calls = forwards.start()
            while calls:
                block = Block(decoder, calls[0].block, calls, read)
                if block.index not in seen:  # some models pass a block twice
                    seen.add(block.index)
                    yield block
                calls = forwards.resume(block.run())
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise ModelError(f"its blocks cannot be run one by one: {error}", where=where) from error
