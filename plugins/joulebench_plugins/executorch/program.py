"""The files of a program, and what its inputs and outputs are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from joulebench.checkpoint import read_json
from joulebench.errors import ModelError

PROGRAM: Final = "model.pte"
_INTERFACE: Final = "interface.json"


@dataclass(frozen=True, slots=True)
class Interface:
    """Places of values among a program's inputs and outputs.

    ``cache`` has for each input of the cache the output that is handed back in its place.
    ``weights_bytes`` are those of the model's tensors, each once. ``delegated_parts`` run by the delegate's
    kernels, ``portable_operators`` one by one by the runtime's own.
    """

    tokens: int
    positions: int | None
    logits: int
    cache: tuple[tuple[int, int], ...]
    context_tokens: int
    vocabulary_size: int
    weights_bytes: int
    delegated_parts: int
    portable_operators: int

    def write(self, folder: Path) -> None:
        """Write it beside the program."""
        (folder / _INTERFACE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Interface:
        """What the converter wrote. Raises :class:`ModelError`."""
        content = read_json(folder / _INTERFACE)
        try:
            cache = tuple((int(source), int(result)) for source, result in content.pop("cache"))
            return cls(**content, cache=cache)
        except (KeyError, TypeError, ValueError):
            raise ModelError(
                "does not say what the program's values are",
                where=str(folder / _INTERFACE),
                hint="delete it; the checkpoint is converted again when it is needed",
            ) from None
