"""Runs any decoder's graph: its inputs filled by what their names mean, its states handed on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime

from joulebench.errors import ModelError
from joulebench_plugins.onnx.binding import bind_input, bind_output
from joulebench_plugins.onnx.failures import lacks_memory
from joulebench_plugins.onnx.ports import Decoder, Port, StatePort

#: onnxruntime's names of types, without ``tensor()``, and numpy's.
_TYPES: Final[Mapping[str, Any]] = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "int64": np.int64,
    "int32": np.int32,
    "bool": np.bool_,
}


class Stage:
    """A loaded graph, what its inputs and outputs are for, and the binding that its runs use."""

    def __init__(self, runtime: Any, decoder: Decoder) -> None:
        self.runtime, self.decoder = runtime, decoder
        self._binding = runtime.io_binding()
        # The binding hands values out in the order in which names were bound first.
        self._outputs: list[str] = []
        self._held = False

    def hold(self, name: str, output: str, buffer: Any) -> None:
        """Let a state be read from a buffer and written into it, at every run."""
        bind_input(self._binding, name, buffer)
        bind_output(self._binding, output, buffer)
        self._outputs.append(output)
        self._held = True

    def run(self, arrays: Mapping[str, Any], values: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        """Outputs by name, made by the runtime, from arrays and from values that an earlier run made."""
        for name, array in arrays.items():
            bind_input(self._binding, name, array)
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)
        # After the inputs: an output that comes in again lies in the binding until it is bound anew.
        for name in outputs:
            self._binding.bind_output(name)
            if name not in self._outputs:
                self._outputs.append(name)
        self.runtime.run_with_iobinding(self._binding)
        made = dict(zip(self._outputs, self._binding.get_outputs(), strict=True))
        if not self._held:
            self._binding.clear_binding_inputs()  # what came in need not stay beside what came out
        return made

    def release(self) -> None:
        """Let go of what earlier runs made, once nothing needs it."""
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._outputs.clear()


class GraphModel:
    """A decoder on one sequence, of one graph for all tokens or of one for the prompt and one after it.

    A state that grows is written anew by the runtime at each run and handed on without another copy.
    States whose keys are in ``shared`` are one buffer of ``cache_tokens`` positions, read and written in place.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        cache_tokens: int,
        *,
        shared: frozenset[str] = frozenset(),
        window: int | None = None,
    ) -> None:
        self.cache_tokens = cache_tokens
        self._prompt, self._stage = stages[0], stages[-1]
        self._window = window
        states = self._stage.decoder.states
        self._shared = {
            state.key: np.zeros(state.extents(cache_tokens), _numpy_type(state.input))
            for state in states
            if state.key in shared
        }
        for state in states:
            if state.key in self._shared:
                self._stage.hold(state.input.name, state.output.name, self._shared[state.key])
        # Kept as long as this lives: a value is the array's own memory.
        self._zeros = {
            state.key: np.zeros(state.extents(0), _numpy_type(state.input))
            for state in states
            if state.key not in self._shared
        }
        self._states: dict[str, Any] = {}
        #: Bytes of one position in all states that grow.
        self.position_bytes: int = sum(_bytes(state, 2) - _bytes(state, 1) for state in states)
        self._fixed_bytes = sum(_bytes(state, 1) for state in states if state.growing_axis is None)
        self._token = 0
        #: Whether a run gives logits of its last token alone, as far as that was seen.
        self.last_only = self._prompt.decoder.last_only
        self.reset()
        self.vocabulary_size = self._width()

    @property
    def decoder(self) -> Decoder:
        """The graph that follows a prompt, or does all."""
        return self._stage.decoder

    @property
    def reads_prompts_at_once(self) -> bool:
        """Whether a prompt is one run, not one for each of its tokens."""
        return self._prompt.decoder.reads_many

    @property
    def state_handling(self) -> str:
        """How states are handed from run to run, in words."""
        if not self._shared:
            return "written anew at each token"
        return "shared buffer" if not self._zeros else "shared buffer, others written anew at each token"

    def reset(self) -> None:
        """Go back to an empty sequence."""
        self._states = {key: onnxruntime.OrtValue.ortvalue_from_numpy(zeros) for key, zeros in self._zeros.items()}

    def allocated_bytes(self) -> int:
        """Bytes of the states as they stand in memory between runs."""
        types = {state.key: _numpy_type(state.input) for state in self._stage.decoder.states}
        own: int = sum(math.prod(value.shape()) * np.dtype(types[key]).itemsize for key, value in self._states.items())
        return own + sum(int(buffer.nbytes) for buffer in self._shared.values())

    def used_bytes(self, length: int) -> int:
        """Bytes of the states of a sequence."""
        return length * self.position_bytes + self._fixed_bytes if self._shared else self.allocated_bytes()

    # -- reading -------------------------------------------------------------------------------

    def read(self, tokens: Sequence[int], at: int) -> int:
        """Feed ``tokens`` from position ``at`` on; returns the greedy token after the last."""
        if at == 0:
            self.reset()
        stage = self._stage_for(at)
        if stage.decoder.reads_many:
            return self._choose(self._run(stage, tokens, at, all_rows=False)[-1])
        return self._choose(self._row_by_row(tokens, at)[-1])

    def fill(self, tokens: Sequence[int], at: int, logits: Any) -> None:
        """Feed ``tokens`` from position ``at`` on; ``logits`` (tokens, vocabulary) is filled."""
        if at == 0:
            self.reset()
        stage = self._stage_for(at)
        if stage.decoder.reads_many and not self.last_only:
            rows = self._run(stage, tokens, at, all_rows=True)
            if len(rows) == len(tokens):
                logits[:] = rows
                return
            if at:
                raise ModelError(f"gave {len(rows)} rows of logits for {len(tokens)} tokens")
            self.last_only = True
            self.reset()
        for place, row in enumerate(self._row_by_row(tokens, at)):
            logits[place] = row

    def step(self, at: int) -> int:
        """Feed the token that was chosen last, at position ``at``; returns the next."""
        return self._choose(self._run(self._stage, (self._token,), at, all_rows=False)[-1])

    def _stage_for(self, at: int) -> Stage:
        return self._stage if at else self._prompt

    def _row_by_row(self, tokens: Sequence[int], at: int) -> list[Any]:
        """Rows of logits of tokens that are fed one by one, by the graph that follows a prompt."""
        return [self._run(self._stage, (token,), at + place, all_rows=False)[-1] for place, token in enumerate(tokens)]

    def _choose(self, row: Any) -> int:
        self._token = int(row.argmax())
        return self._token

    # -- one run -------------------------------------------------------------------------------

    def _run(self, stage: Stage, tokens: Sequence[int], at: int, *, all_rows: bool) -> Any:
        """Logits as (positions, vocabulary); the states are those after these tokens."""
        decoder = stage.decoder
        span = Span(tuple(tokens), at, all_rows)
        arrays = {name: span.filled(decoder.ports[name], kind) for name, kind in decoder.feeds.items()}
        arrays |= {name: np.array(self._window, np.int64) for name in decoder.windows}
        values = {state.input.name: self._states[state.key] for state in decoder.states if state.key in self._states}
        produced = {key: port.name for key, port in decoder.produced.items() if key in self._states}
        try:
            made = stage.run(arrays, values, [*produced.values(), decoder.logits.name])
        except Exception as error:  # onnxruntime's own errors have no common class
            if lacks_memory(error):
                raise MemoryError(f"not enough memory to read {len(tokens)} tokens") from error
            raise ModelError(f"onnxruntime cannot run it: {str(error).strip().splitlines()[0]}") from error
        rows = made[decoder.logits.name].numpy()  # a copy
        self._states |= {key: made[name] for key, name in produced.items()}
        if stage is not self._prompt:
            self._prompt.release()
        return rows.reshape(-1, rows.shape[-1])

    def _width(self) -> int:
        size = self._stage.decoder.logits.extents[-1]
        if size is None:  # the graph does not say it
            size = int(self._run(self._stage, (0,), 0, all_rows=False).shape[-1])
            self.reset()
        return size


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens to be read after ``at`` positions; whether logits of all of them are wanted."""

    tokens: tuple[int, ...]
    at: int
    all_rows: bool

    def filled(self, port: Port, kind: str) -> Any:
        """What an input of a kind holds for this span."""
        count = len(self.tokens)
        end = self.at + count
        if kind == "mask":
            width = port.extents[-1] or end
            values = (np.arange(width) < end).reshape(1, width)
        elif kind == "positions":
            values = np.arange(self.at, end)
            if len(port.shape) > 1:
                leading = [size or 1 for size in port.extents[:-1]]
                values = np.broadcast_to(values, (*leading, count))
        elif kind == "kept_positions":
            values = np.arange(count) if self.all_rows else np.array([count - 1])
        elif kind == "tokens":
            values = np.array([self.tokens])
        elif kind == "zeros":
            values = np.zeros((1, count))
        else:
            number = {
                "kept": count if self.all_rows else 1,
                "has_past": self.at > 0,
                "last": end - 1,
                "total": end,
                "past": self.at,
                "new": count,
            }[kind]
            values = np.full((1,) * len(port.shape), number)
        return np.array(values, _numpy_type(port), order="C")


def _numpy_type(port: Port) -> Any:
    if port.type not in _TYPES:
        raise ModelError(f"'{port.name}' is of type {port.type}, which cannot be handed to onnxruntime from here")
    return _TYPES[port.type]


def _bytes(state: StatePort, positions: int) -> int:
    return math.prod(state.extents(positions)) * int(np.dtype(_numpy_type(state.input)).itemsize)
