"""What the inputs and outputs of a decoder's graph are for, told by their names, types and shapes.

The names are those of transformers' exporters, optimum, onnx-community's models, onnxruntime-genai's
builder and ``onnx-export``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

LOGITS: Final = "logits"
#: Inputs that are filled from the number of positions, by what they hold; ``n`` tokens after ``p`` positions.
_FEEDS: Final[Mapping[str, str]] = {
    "input_ids": "tokens",
    "attention_mask": "mask",  # ones over p + n positions
    "position_ids": "positions",  # p … p + n - 1
    "cache_position": "positions",
    "token_type_ids": "zeros",
    "use_cache_branch": "has_past",
    "num_logits_to_keep": "kept",
    "logits_to_keep": "kept",
    "logit_positions": "kept_positions",
    "seqlens_k": "last",  # p + n - 1
    "total_sequence_length": "total",  # p + n
    "past_sequence_length": "past",  # p
    "past_seq_len": "past",
    "current_sequence_length": "new",  # n
}
#: A sliding window's length, which transformers' caches carry along as a tensor.
_WINDOW: Final = "_sliding_window_tensor"
#: The words that a state's name begins with before what it shares with its output's.
_STATE_WORDS: Final = re.compile(
    r"^(?:(?:input|output)\.)?(past_key_values?|present_key_values?|past|present|cache_params|cache)(?=[._\d])[._]?"
)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: onnxruntime's name of its type, and its extents; a text is a free one."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]

    @property
    def extents(self) -> tuple[int | None, ...]:
        """The extents that are known; some exporters write a number as the name of a free extent."""
        return tuple(int(str(size)) if str(size).isdigit() else None for size in self.shape)


@dataclass(frozen=True, slots=True)
class StatePort:
    """A state that goes into each run and comes out of it: keys, values, a convolution's or a scan's."""

    key: str
    input: Port
    output: Port

    @property
    def growing_axis(self) -> int | None:
        """The axis of the positions, which grows with each run; ``None`` for a state of one size.

        Of a free extent before it stands the batch, which is 1.
        """
        free = [axis for axis, size in enumerate(self.input.extents) if size is None and not self._is_batch(axis)]
        return free[0] if free else None

    def extents(self, positions: int) -> tuple[int, ...]:
        """Its extents when it holds a number of positions."""
        axis = self.growing_axis
        return tuple(
            size if size is not None else positions if place == axis else 1
            for place, size in enumerate(self.input.extents)
        )

    def _is_batch(self, axis: int) -> bool:
        name = str(self.input.shape[axis])
        return "batch" in name or (axis == 0 and len(self.input.shape) > 1)


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder's graph: how its inputs are filled, and which states it hands on.

    ``produced`` are outputs that are states of another graph: a prompt's keys and values.
    """

    feeds: Mapping[str, str]
    ports: Mapping[str, Port]
    states: tuple[StatePort, ...]
    produced: Mapping[str, Port]
    logits: Port
    windows: tuple[str, ...] = ()

    @property
    def reads_many(self) -> bool:
        """Whether it takes any number of tokens in a run."""
        (name,) = (name for name, kind in self.feeds.items() if kind == "tokens")
        return self.ports[name].extents[-1] is None

    @property
    def chooses_logits(self) -> bool:
        """Whether an input says which positions get logits."""
        return any(kind in ("kept", "kept_positions") for kind in self.feeds.values())

    @property
    def last_only(self) -> bool:
        """Whether logits are those of one position whatever is read."""
        extents = self.logits.extents
        return self.reads_many and not self.chooses_logits and len(extents) == 3 and extents[1] == 1


def state_key(name: str) -> str | None:
    """What a state's input and output have in common: ``0.key``; ``None`` for another name."""
    match = _STATE_WORDS.match(name)
    return name[match.end() :] if match and match.end() < len(name) else None


def classify(inputs: Sequence[Port], outputs: Sequence[Port]) -> tuple[Decoder | None, str | None]:
    """The decoder that a graph is, or why it is none that can be run."""
    logits = next((port for port in outputs if port.name == LOGITS), None)
    if logits is None:
        names = ", ".join(port.name for port in outputs[:6])
        return None, f"has no output '{LOGITS}' (its outputs: {names}), so it writes no text"
    produced = {key: port for port in outputs if (key := state_key(port.name)) is not None}
    feeds: dict[str, str] = {}
    states: list[StatePort] = []
    windows: list[str] = []
    unknown: list[str] = []
    for port in inputs:
        key = state_key(port.name)
        if port.name in _FEEDS and len(port.shape) <= 3:
            feeds[port.name] = _FEEDS[port.name]
        elif port.name.endswith(_WINDOW) and not port.shape:
            windows.append(port.name)
        elif key is not None and key in produced:
            states.append(StatePort(key, port, produced[key]))
        else:
            unknown.append(port.name)
    if unknown:
        return None, "needs inputs that nobody knows how to fill: " + ", ".join(unknown)
    if "tokens" not in feeds.values():
        return None, "has no input 'input_ids'"
    ports = {port.name: port for port in inputs}
    return Decoder(feeds, ports, tuple(states), produced, logits, tuple(windows)), None


def with_extents_of(first: Decoder, following: Decoder) -> Decoder:
    """The second of two graphs with the extents of its states that the first knows: a convolution's do not grow."""
    states = []
    for state in following.states:
        known = first.produced.get(state.key)
        port = state.input
        if known is not None and len(known.shape) == len(port.shape):
            sizes = zip(port.shape, known.extents, strict=True)
            port = replace(port, shape=tuple(own if size is None else size for own, size in sizes))
        states.append(StatePort(state.key, port, state.output))
    return replace(following, states=tuple(states))


def paired_fault(first: Decoder, following: Decoder) -> str | None:
    """Why two graphs are not one model: a state that the first does not hand on."""
    missing = [state.input.name for state in following.states if state.key not in first.produced]
    if missing:
        return f"the first graph hands on no {', '.join(missing[:6])}"
    return None
