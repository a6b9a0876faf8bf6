"""What a model remembers from token to token, and how it is given to the model, by its own forward's arguments.

A model of transformers takes one of three. A ``Cache``, whose layers hold keys and values, a window of them, or the
states of convolutions and recurrences, as the configuration says. A state of the model's own, which comes back with
the logits under the argument's name (RWKV, xLSTM). Or nothing: then the whole text is read again for each token.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
import transformers

from joulebench.errors import ModelError
from joulebench_plugins.torch.weightcount import can_train

#: Arguments of a ``forward`` that take a ``Cache``: renamed within transformers 5.
_CACHES: Final = ("cache", "past_key_values", "cache_params")
#: Arguments that take a state of the model's own.
_STATES: Final = ("state", "mems", "past_buckets_states")
#: Names of the number of positions that a model can be asked about.
_CONTEXTS: Final = ("max_position_embeddings", "max_seq_len")
#: What layers keep.
_STATE: Final = "state"
_OWN_STATE: Final = "a state of its own"
_NOTHING: Final = "nothing"
#: Tokens of a text that is read whole and in two pieces, and how far the logits may be apart, as a share of their
#: range: this, or so many roundings of the number type.
_TRIED: Final = 24
_LEAST_TOLERANCE: Final = 1e-4
_ROUNDINGS: Final = 8
#: A share of that range that no rounding makes.
_SEES_LATER: Final = 0.05


def context_length(config: Any) -> int | None:
    """Positions that a model takes, by its configuration; ``None`` where nothing limits them."""
    limits = (getattr(config, name, None) for name in _CONTEXTS)
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)


@dataclass(frozen=True, slots=True)
class Interface:
    """How a model is asked to go on from what it has read."""

    #: The argument for what it remembers; ``None`` where there is none.
    argument: str | None
    #: Whether that is a ``Cache``, made beforehand; else the model makes it, and it comes back with the logits.
    takes_cache: bool
    #: Whether it takes the places of tokens, counted from 0.
    takes_positions: bool
    #: Whether it can leave out the logits of all but the last tokens.
    keeps_logits: bool
    #: Whether it can be told to remember or not.
    takes_use_cache: bool

    @classmethod
    def of(cls, model: Any) -> Interface:
        """By the signature of its ``forward``."""
        names = inspect.signature(type(model).forward).parameters
        argument = next((name for name in (*_CACHES, *_STATES) if name in names), None)
        supports = getattr(type(model), "_supports_default_dynamic_cache", None)
        takes_cache = argument in _CACHES and (supports is None or bool(supports()))
        # Other models count positions as they like: RoBERTa begins at its padding token's id.
        rotary = hasattr(getattr(model, "base_model", None), "rotary_emb")
        takes_positions = rotary and "position_ids" in names
        return cls(argument, takes_cache, takes_positions, "logits_to_keep" in names, "use_cache" in names)


class Reader:
    """Reads tokens of one sequence after another; what is remembered goes in and comes out."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.interface = Interface.of(model)

    def new(self) -> Any:
        """What is remembered of an empty text."""
        if self.interface.takes_cache:
            return transformers.DynamicCache(config=self._model.config)
        return None

    def try_step(self) -> float:
        """How far a step's logits are from those of the whole text, as a share of their range.

        A model that fails to go on from what it remembers is from now on read from the start for each token.
        Raises :class:`ModelError` for one in float32 whose tokens see those after them.
        """
        ids = self._trial_ids()
        half = ids.shape[1] // 2
        with torch.inference_mode():
            whole = self._read_anew(ids)
            try:
                first, memory = self.read(ids[:, :half], self.new())
                step, _ = self.read(ids[:, half : half + 1], memory, torch.full((1, 1), half, device=ids.device))
            except Exception:  # of classes that no longer fit transformers' caches, whatever they raise
                self.interface = replace(self.interface, argument=None, takes_cache=False)
                first = self._read_anew(ids[:, :half])
                step = self._read_anew(ids[:, : half + 1])[:, -1:]
        # Rounding to few bits depends on all tokens of a pass, and may choose other experts.
        exact = whole.dtype == torch.float32 and can_train(self._model)
        if exact and _apart(first, whole[:, :half], whole) > _SEES_LATER:
            raise ModelError(f"a {type(self._model).__name__} is no causal model here: its tokens see those after them")
        return _apart(step, whole[:, half : half + 1], whole)

    @functools.cached_property
    def goes_on_in_pieces(self) -> bool:
        """Whether a text may be read piece by piece: tried once, since some recurrences begin anew with each piece.

        Keys and values of earlier pieces are seen by all attention, so that only models with states are tried.
        """
        kept = self.kept()
        if not kept:
            return False  # each piece would be read with all that is before it
        if not any(_STATE in what for what in kept):
            return True
        ids = self._trial_ids()
        half = ids.shape[1] // 2
        with torch.inference_mode():
            whole, _ = self.read(ids, self.new())
            first, memory = self.read(ids[:, :half], self.new())
            second, _ = self.read(ids[:, half:], memory)
        off = _apart(torch.cat([first, second], dim=1), whole, whole)
        return off <= max(_LEAST_TOLERANCE, _ROUNDINGS * float(torch.finfo(whole.dtype).eps))

    def _trial_ids(self) -> torch.Tensor:
        vocabulary = self._model.config.get_text_config(decoder=True).vocab_size
        return (torch.arange(_TRIED, device=self._model.device) * 7 % vocabulary)[None]

    def _read_anew(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of a text without anything remembered."""
        arguments = {"use_cache": False} if self.interface.takes_use_cache else {}
        logits: torch.Tensor = self._model(input_ids=ids, **arguments).logits
        return logits[:, -ids.shape[1] :]

    def kept(self) -> dict[str, int]:
        """How many layers keep what, in words; empty for a model that keeps nothing."""
        if self.interface.argument is None:
            return {}
        if not self.interface.takes_cache:
            return {_OWN_STATE: 1}
        return dict(Counter(_words(layer) for layer in self.new().layers))

    def has_attention(self) -> bool:
        """Whether some layer looks at earlier tokens, not at a state of them alone."""
        return not self.kept().keys() <= {_OWN_STATE, _STATE, _NOTHING} or self.interface.argument is None

    @property
    def takes_batches(self) -> bool:
        """Whether it goes on from several sequences at once: RWKV's own state mixes them."""
        return self.interface.takes_cache or self.interface.argument is None

    @functools.cached_property
    def takes_padding(self) -> bool:
        """Whether sequences of a batch may begin with positions that hold no token.

        Not where states run through them, nor where a model counts the places of tokens itself.
        """
        states = any(_STATE in what for what in self.kept())
        return self.interface.takes_cache and self.interface.takes_positions and not states

    def read(
        self,
        ids: torch.Tensor,
        memory: Any,
        positions: torch.Tensor | None = None,
        *,
        last: bool = False,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Any]:
        """Logits after each of ``ids`` (or after the last alone), and what is now remembered.

        ``mask`` has a 1 for each position so far that holds a token, shaped (batch, positions).
        """
        interface = self.interface
        arguments: dict[str, Any] = {"logits_to_keep": 1} if last and interface.keeps_logits else {}
        if interface.argument is None:
            text = ids if memory is None else torch.cat([memory, ids], dim=1)
            logits = self._read_anew(text)
            return logits[:, -1:] if last else logits[:, -ids.shape[1] :], text
        if interface.takes_positions:
            arguments["position_ids"] = positions
        if mask is not None:
            arguments["attention_mask"] = mask
        result = self._model(input_ids=ids, use_cache=True, **{interface.argument: memory}, **arguments)
        logits = result.logits[:, -1:] if last else result.logits
        return logits, memory if interface.takes_cache else result[interface.argument]


def _apart(logits: torch.Tensor, others: torch.Tensor, whole: torch.Tensor) -> float:
    """The largest difference between logits, as a share of the range of all."""
    return float((logits - others).abs().max() / (whole.max() - whole.min()))


def _words(layer: Any) -> str:
    """What a layer of a Cache keeps."""
    keeps = f"window of {layer.sliding_window}" if getattr(layer, "is_sliding", False) else "every position"
    if not hasattr(layer, "conv_states"):
        return keeps if hasattr(layer, "is_sliding") else _NOTHING
    return f"{_STATE} and {keeps}" if hasattr(layer, "keys") else _STATE
