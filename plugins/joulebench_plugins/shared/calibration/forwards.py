"""Passes of a model over several sequences that stop before every block, for the blocks to be run outside.

What lies between blocks (embeddings, masks, tables of rotations, what is handed from block to block) is the
model's own code and differs from one architecture to the next. So each sequence's pass is a thread of its own,
of which one runs at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple

import torch


class Call(NamedTuple):
    """A block's call by its model."""

    block: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def states(self) -> torch.Tensor:
        """The hidden states that the block gets, (1, tokens, hidden size)."""
        states: torch.Tensor = self.args[0] if self.args else self.kwargs["hidden_states"]
        return states


class _LeaveError(BaseException):
    """Ends a pass that nobody waits for any more."""


class Forwards:
    """A pass of ``model`` over each sequence of token ids; to be used in a ``with`` statement."""

    def __init__(self, model: Any, blocks: Sequence[torch.nn.Module], sequences: Sequence[Sequence[int]]) -> None:
        self._model, self._blocks, self._sequences = model, blocks, sequences
        self._own = threading.local()
        self._passes: list[_Pass] = []

    def __enter__(self) -> Forwards:
        for index, block in enumerate(self._blocks):
            block.forward = self._stop_at(index)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for waiting in self._passes:
            waiting.leave()
        for block in self._blocks:
            del block.forward

    def start(self) -> list[Call]:
        """Each sequence's call of the first block."""
        calls: list[Call | None] = []
        for sequence in self._sequences:
            begun = _Pass(self._run(sequence), self._own)
            self._passes.append(begun)
            calls.append(begun.next_call())
        return _alike(calls)

    def resume(self, outputs: Sequence[Any]) -> list[Call]:
        """Go on with what the block gave for each sequence, to the next block; none at the end."""
        calls: list[Call | None] = []
        for waiting, output in zip(self._passes, outputs, strict=True):
            waiting.resume(output)
            calls.append(waiting.next_call())
        return _alike(calls)

    def _stop_at(self, index: int) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._own.waiting.arrive(Call(index, args, kwargs))

    def _run(self, sequence: Sequence[int]) -> Callable[[], object]:
        return lambda: self._model(input_ids=torch.tensor([list(sequence)]), use_cache=False)


class _Pass:
    """One sequence's way through the model."""

    def __init__(self, run: Callable[[], object], own: threading.local) -> None:
        self._arrivals: SimpleQueue[Call | BaseException | None] = SimpleQueue()
        self._outputs: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._go, args=(run, own), daemon=True)
        self._thread.start()

    def arrive(self, call: Call) -> Any:
        """In the pass's own thread: wait for what the block gives."""
        self._arrivals.put(call)
        output = self._outputs.get()
        if isinstance(output, _LeaveError):
            raise output
        return output

    def next_call(self) -> Call | None:
        """The call of the next block, ``None`` at the end. Raises what the model raised."""
        arrival = self._arrivals.get()
        if isinstance(arrival, BaseException):
            raise arrival
        return arrival

    def resume(self, output: Any) -> None:
        """Go on with a block's output."""
        self._outputs.put(output)

    def leave(self) -> None:
        """End the pass where it waits."""
        self._outputs.put(_LeaveError())
        self._thread.join()

    def _go(self, run: Callable[[], object], own: threading.local) -> None:
        own.waiting = self
        try:
            with torch.inference_mode():
                run()
            self._arrivals.put(None)
        except _LeaveError:
            pass
        except BaseException as error:  # it is raised again where the pass is waited for
            self._arrivals.put(error)


def _alike(calls: Sequence[Call | None]) -> list[Call]:
    """The calls, which must be of one block. Raises RuntimeError where sequences take different ways."""
    whole = [call for call in calls if call is not None]
    if (len(whole) != len(calls) and whole) or len({call.block for call in whole}) > 1:
        raise RuntimeError("sequences take different ways through the blocks")
    return whole
