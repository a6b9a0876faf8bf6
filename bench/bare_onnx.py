"""ONNX Runtime's own loop: one IO binding with its own KV buffers, on the session's model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Bare:
    """The least that a program must do for each token; it knows the graph by its input names."""

    name = "run_with_iobinding"

    def __init__(self, session: Any) -> None:
        import numpy as np
        import onnxruntime as ort

        self._np, self._ort = np, ort
        self._runtime = session._runtime
        self._capacity = session.context_length
        self._binding = self._runtime.io_binding()
        self._pasts: dict[str, Any] = {}
        for node in self._runtime.get_inputs():
            if node.name.startswith("past_key_values."):
                batch, heads, _, size = node.shape
                buffer = np.zeros((batch, heads, self._capacity, size), np.float32)
                self._pasts[node.name] = ort.OrtValue.ortvalue_from_numpy(buffer), buffer
        self._bind_cache(self._binding)
        self._ids = self._value("input_ids", np.zeros((1, 1), np.int64))
        self._at = self._value("logit_positions", np.zeros(1, np.int64))
        self._last = self._value("seqlens_k", np.zeros(1, np.int32))
        self._total = self._value("total_sequence_length", np.zeros(1, np.int32))
        self._logits = np.zeros((1, session.vocabulary_size), np.float32)
        self._binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(self._logits))
        self._length = 0

    def _value(self, name: str, array: Any) -> Any:
        self._binding.bind_ortvalue_input(name, self._ort.OrtValue.ortvalue_from_numpy(array))
        return array

    def _bind_cache(self, binding: Any) -> None:
        for name, (value, _) in self._pasts.items():
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(name.replace("past_key_values", "present"), value)

    def prefill(self, tokens: Sequence[int]) -> int:
        for place, token in enumerate(tokens):  # not timed: one by one through the same binding
            self._length = place
            (first,) = self.steps(token, 1)
        return first

    def steps(self, first: int, count: int) -> list[int]:
        run, binding, logits = self._runtime.run_with_iobinding, self._binding, self._logits
        written = [0] * count
        token = first
        for step in range(count):
            self._ids[0, 0] = token
            self._last[0] = self._length
            self._total[0] = self._length = self._length + 1
            run(binding)
            written[step] = token = int(logits.argmax())
        return written
