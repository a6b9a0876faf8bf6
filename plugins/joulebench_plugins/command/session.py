"""A session in a program: each call is a request to it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

from joulebench.api import Artifact, BackendSession, MemoryUse, Scalar, Settings, Traffic
from joulebench.errors import PluginError
from joulebench_plugins.command.link import MAX_INTEGER, Link, LinkError, shown

#: Token ids are int32 in sessions.
_MAX_TOKEN: Final = 2**31 - 1
_STEP: Final = b'{"op": "step"}\n'


class CommandSession(BackendSession):
    """A model in a program of its own. The program must have been greeted."""

    def __init__(self, link: Link, artifact: Artifact, device: str, settings: Settings) -> None:
        self._link = link
        order = {
            "op": "open",
            "format": artifact.format,
            "artifact": str(artifact.path),
            "device": device,
            "settings": {k: v for k, v in settings.items() if k != "command"},
        }
        opened = link.ask(order)
        self.vocabulary_size = _count(opened, "vocabulary_size", link.command)
        self.context_length = _count(opened, "context_length", link.command)
        self._facts = _facts(opened.get("facts"), link.command)
        traffic = opened.get("traffic") or {}
        if not isinstance(traffic, dict):
            raise LinkError(f"gave {shown(traffic)} as traffic, not an object", where=link.command)
        self._traffic = Traffic(
            weights_bytes=_count(traffic, "weights_bytes", link.command),
            kv_position_bytes=_count(traffic, "kv_position_bytes", link.command),
            operations=_count(traffic, "operations", link.command),
            head_operations=_count(traffic, "head_operations", link.command),
        )

    def process_id(self) -> int:
        """The program's own: its memory and CPU time are the model's."""
        return self._link.pid

    def prefill(self, tokens: Sequence[int]) -> int:
        """One request with the prompt."""
        return self._token(self._link.ask({"op": "prefill", "tokens": list(tokens)}))

    def step(self) -> int:
        """One request, always the same bytes."""
        self._link.send(_STEP)
        return self._token(self._link.receive())

    def _token(self, answer: Mapping[str, Any]) -> int:
        token = answer.get("token")
        if type(token) is not int or not 0 <= token <= _MAX_TOKEN:
            raise LinkError(f"gave the token {shown(token)}", where=self._link.command)
        return token

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of the tokens but the first."""
        answer = self._link.ask({"op": "score", "tokens": list(tokens)})
        scores = answer.get("scores")
        if not isinstance(scores, list) or len(scores) != len(tokens) - 1:
            raise LinkError(f"gave no list of {len(tokens) - 1} scores: {shown(scores)}", where=self._link.command)
        wrong = [score for score in scores if type(score) not in (int, float) or not abs(score) <= sys.float_info.max]
        if wrong:
            raise LinkError(f"gave the score {shown(wrong[0])}", where=self._link.command)
        return [float(score) for score in scores]

    def logits(self, tokens: Sequence[int]) -> Any:
        """The program writes them into a file: float32, row by row, as the machine has them."""
        import numpy as np

        with tempfile.NamedTemporaryFile(prefix="joulebench-logits-") as file:
            self._link.ask({"op": "logits", "tokens": list(tokens), "file": file.name})
            numbers = np.fromfile(file.name, np.float32)
        size = self.vocabulary_size or 0
        if numbers.size != len(tokens) * size:
            raise LinkError(f"wrote {numbers.size} logits, not {len(tokens)} rows of {size}", where=self._link.command)
        return numbers.reshape(len(tokens), size)

    def reset(self) -> None:
        """Forget the sequence."""
        self._link.ask({"op": "reset"})

    def memory(self) -> MemoryUse:
        """The program's own account; what it does not say is unknown."""
        answer = self._link.ask({"op": "memory"})
        return MemoryUse(**{name: _count(answer, name, self._link.command) for name in MemoryUse.__slots__})

    def traffic(self) -> Traffic:
        """What it said when it opened the model."""
        return self._traffic

    def facts(self) -> Mapping[str, Scalar]:
        """What it said when it opened the model."""
        return self._facts

    def close(self) -> None:
        """End the program."""
        self._link.close()


def _is_plain(value: object) -> bool:
    """Whether a session has room for it: no list, no object, no integer beyond 64 bits."""
    if isinstance(value, int):
        return abs(value) <= MAX_INTEGER
    return value is None or isinstance(value, (str, float))


def _count(answer: Mapping[str, Any], name: str, command: str) -> int | None:
    value = answer.get(name)
    if value is None or (type(value) is int and 0 <= value <= MAX_INTEGER):
        return value
    raise PluginError(
        f"gave {shown(value)} as {name}", where=command, hint="a whole number, or leave it out where it is not known"
    )


def _facts(facts: object, command: str) -> dict[str, Scalar]:
    if facts is None:
        return {}
    if isinstance(facts, dict) and all(map(_is_plain, facts.values())):
        return dict(facts)
    raise PluginError(
        f"gave {shown(facts)} as facts", where=command, hint="an object of texts, numbers, booleans and null"
    )
