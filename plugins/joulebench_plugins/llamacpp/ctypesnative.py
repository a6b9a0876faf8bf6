"""llama.cpp through ``llama-cpp-python``: its low-level module, which is ctypes over llama.h."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from joulebench_plugins.llamacpp.log import LibraryLog
from joulebench_plugins.llamacpp.native import GPU_TYPES, LOG_CALLBACKS, OVERRIDE_INT, Native, Watch


class CtypesNative(Native):
    """The library that lies in the package ``llama_cpp``."""

    package = "llama-cpp-python"

    def __init__(self) -> None:
        from llama_cpp import llama_cpp as api

        self.api: Any = api
        self._library: Any = api._lib

    def hear(self, log: LibraryLog) -> None:
        """Send the library's log there."""
        callback = self.api.llama_log_callback(lambda level, text, _: log.add(level, self.text(text)))
        LOG_CALLBACKS.append(callback)
        self.api.llama_log_set(callback, ctypes.c_void_p(0))

    def text(self, value: Any) -> str:
        """A C string."""
        content: bytes = value
        return content.decode("utf-8", "replace")

    def devices(self, name: str | None) -> Any:
        """A list for ``llama_model_params.devices``."""
        first = None
        if name:
            find = self._declared("ggml_backend_dev_by_name", ctypes.c_void_p, ctypes.c_char_p)
            first = find(name.encode())
        # The pointer keeps the list that it is cast from.
        return ctypes.cast((ctypes.c_void_p * 2)(first, None), ctypes.c_void_p)

    def watching(self, watch: Watch | None) -> Any:
        """A callback; ctypes gives an address of 0 as ``None``."""
        return self.api.ggml_backend_sched_eval_callback(
            lambda tensor, ask, _: watch is None or watch(tensor or 0, ask)
        )

    def quantize(self, source: str, target: str, params: Any) -> int:
        """``llama_model_quantize``."""
        return int(self.api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)))

    def quantize_params(self) -> Any:
        """``llama_model_quantize_params`` with the library's defaults."""
        return self.api.llama_model_quantize_default_params()

    def matrices(self, means: Mapping[str, Any], kept: list[Any]) -> Any:
        """An importance matrix."""
        entries = (self.api.llama_model_imatrix_data * (len(means) + 1))()
        for entry, (name, values) in zip(entries, means.items(), strict=False):
            entry.name = name.encode()
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = len(values)
        kept.append(entries)
        return entries

    def overrides(self, counts: Mapping[str, int], kept: list[Any]) -> Any:
        """Whole numbers for a file's metadata."""
        entries = (self.api.llama_model_kv_override * (len(counts) + 1))()
        for entry, (key, value) in zip(entries, counts.items(), strict=False):
            entry.tag, entry.key, entry.value.val_i64 = OVERRIDE_INT, key.encode(), value
        kept.append(entries)
        return entries

    def integers(self, count: int) -> tuple[Any, Any]:
        """Room for so many int32."""
        room = (ctypes.c_int32 * count)()
        return room, np.frombuffer(room, np.int32)

    def ones(self, count: int) -> Any:
        """So many int8 of 1."""
        return (ctypes.c_int8 * count)(*([1] * count))

    def characters(self, count: int) -> Any:
        """Room for so many bytes."""
        return ctypes.create_string_buffer(count)

    def bytes_of(self, characters: Any, count: int) -> bytes:
        """The first ``count`` of them."""
        content: bytes = characters.raw[:count]
        return content

    def floats(self, address: Any, count: int) -> Any:
        """A numpy array on the library's own memory."""
        return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32)

    def logits_call(self) -> Callable[[Any, int], Any]:
        """``llama_get_logits_ith`` with a plain number as its result: no object is made a step."""
        return self._declared("llama_get_logits_ith", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)

    def gpus(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds."""
        pointer = ctypes.c_void_p
        count = self._declared("ggml_backend_dev_count", ctypes.c_size_t)
        get = self._declared("ggml_backend_dev_get", pointer, ctypes.c_size_t)
        kind = self._declared("ggml_backend_dev_type", ctypes.c_int, pointer)
        name = self._declared("ggml_backend_dev_name", ctypes.c_char_p, pointer)
        description = self._declared("ggml_backend_dev_description", ctypes.c_char_p, pointer)
        devices = [get(index) for index in range(count())]
        return {self.text(name(each)): self.text(description(each)) for each in devices if kind(each) in GPU_TYPES}

    def _declared(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """A function of the library that the package does not declare, or not so."""
        call: Any = self._library[name]
        call.restype, call.argtypes = result, list(arguments)
        return call  # type: ignore[no-any-return]
