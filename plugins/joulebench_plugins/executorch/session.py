"""A loaded program: greedy decoding and scoring of one sequence, a token at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

from joulebench.api import BackendSession, MemoryUse, Scalar, Traffic, distribution_versions
from joulebench.backendkit import log_probabilities
from joulebench.errors import JoulebenchError, ModelError
from joulebench_plugins.executorch.program import PROGRAM, Interface

#: Axes of keys and values: sequence, head, position, size of a head.
_KV_RANK: Final = 4
#: The runtime's numbers of types (c10/core/ScalarType.h).
_TYPES: Final = {3: torch.int32, 4: torch.int64, 5: torch.float16, 6: torch.float32, 11: torch.bool, 15: torch.bfloat16}


def open_session(folder: Path, threads: int) -> ExecutorchSession:
    """A session on the program in ``folder``. Raises :class:`ModelError`."""
    interface = Interface.read(folder)
    file = folder / PROGRAM
    # One pool for the whole process; there is no other way to size it.
    portable_lib._unsafe_reset_threadpool(threads)
    try:
        program = Runtime.get().load_program(file)
        method = program.load_method("forward")
    except (RuntimeError, OSError, ValueError) as error:
        raise ModelError(f"ExecuTorch cannot load it: {error}", where=str(file)) from error
    return ExecutorchSession(program, method, interface, file.stat().st_size)


class ExecutorchSession(BackendSession):
    """One sequence on one program. The cache goes in and comes out at each token."""

    def __init__(self, program: Any, method: Any, interface: Interface, file_bytes: int) -> None:
        self._program, self._method = program, method  # the program holds the memory that the method reads
        self._interface, self._file_bytes = interface, file_bytes
        self.context_length = interface.context_tokens
        self.vocabulary_size = interface.vocabulary_size
        #: The token that was returned last; none where no sequence has begun.
        self._token: int | None = None
        self.reset()

    # -- generating ------------------------------------------------------------------------

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt, one token after another, and return the first greedy token."""
        if not tokens:
            raise JoulebenchError("an empty prompt cannot be read")
        self._check_length(len(tokens))
        self.reset()
        for token in tokens:
            logits = self._feed(token)
        self._token = chosen = int(logits.argmax())
        return chosen

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        if self._token is None:
            raise JoulebenchError("step() needs a prompt: call prefill() first")
        self._check_length(self._length + 1)
        self._token = chosen = int(self._feed(self._token).argmax())
        return chosen

    def reset(self) -> None:
        """Forget the sequence: the next one begins with an empty cache."""
        details = self._method.metadata
        tensors = [details.input_tensor_meta(place) for place in range(details.num_inputs())]
        self._values: list[Any] = [torch.zeros(tensor.sizes(), dtype=_TYPES[tensor.dtype()]) for tensor in tensors]
        self._length = 0
        self._token = None

    def _feed(self, token: int) -> Any:
        """Logits after one more token, as numpy sees them."""
        interface, values = self._interface, self._values
        values[interface.tokens].fill_(token)
        if interface.positions is not None:
            values[interface.positions].fill_(self._length)
        results = self._method.execute(values)
        for source, result in interface.cache:
            values[source] = results[result]
        self._length += 1
        return results[interface.logits].reshape(-1).float().numpy()

    def _check_length(self, length: int) -> None:
        if length > self._interface.context_tokens:
            raise JoulebenchError(
                f"{length} tokens do not fit into {self._interface.context_tokens} positions",
                hint="raise cache_tokens, as far as the model's context goes, or shorten the text",
            )

    # -- whole sequences -------------------------------------------------------------------

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of ``tokens[1:]``, in float64. Ends the sequence that was begun."""
        scores: list[float] = log_probabilities(self.logits(tokens[:-1]).astype(np.float64), tokens[1:]).tolist()
        return scores

    def logits(self, tokens: Sequence[int]) -> Any:
        """Logits after each of ``tokens``: float32, (len(tokens), vocabulary_size)."""
        self._check_length(len(tokens))
        self.reset()
        rows = np.empty((len(tokens), self._interface.vocabulary_size), np.float32)
        for row, token in zip(rows, tokens, strict=True):
            row[:] = self._feed(token)
        self.reset()
        return rows

    # -- the record ------------------------------------------------------------------------

    def memory(self) -> MemoryUse:
        """The program with all that it holds, and the cache as it is handed over."""
        cache = [self._values[source] for source, _ in self._interface.cache]
        allocated = sum(tensor.nbytes for tensor in cache)
        used = sum(tensor.nbytes // tensor.shape[2] * self._length for tensor in cache if tensor.ndim == _KV_RANK)
        return MemoryUse(weights_bytes=self._file_bytes, kv_allocated_bytes=allocated, kv_used_bytes=used)

    def traffic(self) -> Traffic:
        """Not known: what the runtime keeps of a program cannot be listed."""
        return Traffic()

    def facts(self) -> Mapping[str, Scalar]:
        """What the runtime says, and what is known of every such program."""
        interface = self._interface
        return {
            "dtype": "float32",
            "compute": "float32",
            "program_bytes": self._file_bytes,
            "weights_stored": round(self._file_bytes / interface.weights_bytes, 3),
            "context_length": self.context_length,
            "prefill": "one token at a time",
            "cache": "passed in and handed back at each token, attended to as a whole",
            "threads": int(portable_lib._threadpool_get_thread_count()),
            "delegated_parts": interface.delegated_parts,
            "portable_operators": interface.portable_operators,
            "executorch": distribution_versions(("executorch",)).get("executorch"),
        }

    def close(self) -> None:
        """Drop the program and its cache; a second call does nothing."""
        for name in ("_method", "_program", "_values"):
            vars(self).pop(name, None)
