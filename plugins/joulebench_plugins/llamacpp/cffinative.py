"""llama.cpp through ``llama-cpp-py-sync``: CFFI over llama.h, with a prebuilt library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from joulebench.errors import UnavailableError
from joulebench_plugins.llamacpp.log import LibraryLog
from joulebench_plugins.llamacpp.native import GPU_TYPES, LOG_CALLBACKS, OVERRIDE_INT, Native, Watch


class CffiNative(Native):
    """The library that lies in the package ``llama_cpp_py_sync``."""

    package = "llama-cpp-py-sync"

    def __init__(self) -> None:
        from llama_cpp_py_sync import _cffi_bindings as bindings

        self._ffi: Any = bindings.get_ffi()
        self.api: Any = bindings.get_lib()
        self.null = self._ffi.NULL

    def hear(self, log: LibraryLog) -> None:
        """Send the library's log there."""

        def heard(level: int, text: Any, _: Any) -> None:
            log.add(level, self.text(text))

        callback = self._ffi.callback("void(enum ggml_log_level, char *, void *)", heard)
        LOG_CALLBACKS.append(callback)
        self.api.llama_log_set(callback, self.null)

    def text(self, value: Any) -> str:
        """A C string."""
        content: bytes = self._ffi.string(value)
        return content.decode("utf-8", "replace")

    def devices(self, name: str | None) -> Any:
        """A list for ``llama_model_params.devices``."""
        chosen = self._ffi.new("ggml_backend_dev_t[2]")
        if name:
            chosen[0] = self.api.ggml_backend_dev_by_name(name.encode())
        return chosen

    def watching(self, watch: Watch | None) -> Any:
        """A callback for ``llama_context_params.cb_eval``."""
        ffi = self._ffi

        def called(tensor: Any, ask: bool, _: Any) -> bool:
            return watch is None or watch(int(ffi.cast("uintptr_t", tensor)), ask)

        return ffi.callback(ffi.typeof(self.api.llama_context_default_params().cb_eval), called)

    def quantize(self, source: str, target: str, params: Any) -> int:
        """``llama_model_quantize``."""
        return int(self.api.llama_model_quantize(source.encode(), target.encode(), params))

    def quantize_params(self) -> Any:
        """``llama_model_quantize_params`` with the library's defaults."""
        defaults = self.api.llama_model_quantize_default_params()
        return self._ffi.new("struct llama_model_quantize_params *", defaults)

    def matrices(self, means: Mapping[str, Any], kept: list[Any]) -> Any:
        """An importance matrix.

        Older versions of llama.cpp wanted an object of C++ there, which cannot be made from here.
        """
        ffi = self._ffi
        try:
            entries = ffi.new("struct llama_model_imatrix_data[]", len(means) + 1)
        except (ffi.error, TypeError) as error:
            raise UnavailableError(
                f"the installed {self.package} cannot be given an importance matrix",
                hint=f"install a newer {self.package}, or set imatrix = false",
            ) from error
        for entry, (name, values) in zip(entries, means.items(), strict=False):
            word = ffi.new("char[]", name.encode())
            kept.append(word)
            entry.name, entry.size = word, len(values)
            entry.data = ffi.cast("float *", ffi.from_buffer(values))
        kept.append(entries)
        return entries

    def overrides(self, counts: Mapping[str, int], kept: list[Any]) -> Any:
        """Whole numbers for a file's metadata."""
        entries = self._ffi.new("struct llama_model_kv_override[]", len(counts) + 1)
        for entry, (key, value) in zip(entries, counts.items(), strict=False):
            entry.tag, entry.key, entry.val_i64 = OVERRIDE_INT, key.encode(), value
        kept.append(entries)
        return entries

    def integers(self, count: int) -> tuple[Any, Any]:
        """Room for so many int32."""
        room = self._ffi.new("int32_t[]", count)
        return room, np.frombuffer(self._ffi.buffer(room), np.int32)

    def ones(self, count: int) -> Any:
        """So many int8 of 1."""
        return self._ffi.new("int8_t[]", [1] * count)

    def characters(self, count: int) -> Any:
        """Room for so many bytes."""
        return self._ffi.new("char[]", count)

    def bytes_of(self, characters: Any, count: int) -> bytes:
        """The first ``count`` of them."""
        return bytes(self._ffi.buffer(characters, count))

    def floats(self, address: Any, count: int) -> Any:
        """A numpy array on the library's own memory."""
        return np.frombuffer(self._ffi.buffer(address, count * 4), np.float32)

    def logits_call(self) -> Callable[[Any, int], Any]:
        """``llama_get_logits_ith``."""
        call: Callable[[Any, int], Any] = self.api.llama_get_logits_ith
        return call

    def gpus(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds."""
        api = self.api
        devices = [api.ggml_backend_dev_get(index) for index in range(api.ggml_backend_dev_count())]
        return {
            self.text(api.ggml_backend_dev_name(device)): self.text(api.ggml_backend_dev_description(device))
            for device in devices
            if api.ggml_backend_dev_type(device) in GPU_TYPES
        }
