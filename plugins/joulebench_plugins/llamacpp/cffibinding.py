"""llama.cpp through ``llama-cpp-py-sync``: CFFI over llama.h, with a prebuilt library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from joulebench.errors import UnavailableError
from joulebench_plugins.llamacpp.binding import (
    GPU_TYPES,
    IMPORTANCE_MATRICES,
    IMPORTANCE_SEQUENCES,
    LOG_CALLBACKS,
    OVERRIDE_INT,
    VOCABULARY_NONE,
    Binding,
    ContextOptions,
    Importance,
    ModelOptions,
    QuantizeOptions,
    check_layout,
    fill_context,
    fill_model,
    fill_quantize,
)
from joulebench_plugins.llamacpp.log import LibraryLog

_PACKAGE: Final = "llama-cpp-py-sync"


class CffiBinding(Binding):
    """The library that lies in the package ``llama_cpp_py_sync``."""

    def __init__(self, log: LibraryLog) -> None:
        from llama_cpp_py_sync import _cffi_bindings as package

        self._ffi: Any = package.get_ffi()
        self._library: Any = package.get_lib()
        ffi, library = self._ffi, self._library

        def heard(level: int, text: Any, _: Any) -> None:
            log.add(level, ffi.string(text).decode("utf-8", "replace"))

        callback = ffi.callback("void(enum ggml_log_level, char *, void *)", heard)
        LOG_CALLBACKS.append(callback)
        library.llama_log_set(callback, ffi.NULL)
        library.llama_backend_init()
        check_layout(library.llama_model_default_params(), library.llama_context_default_params(), _PACKAGE)

    def open(self, path: str, model: ModelOptions, context: ContextOptions) -> CffiDecoder | None:
        """Load a file and make a context; ``None`` where the library refuses (see its log)."""
        ffi, library = self._ffi, self._library
        model_params = library.llama_model_default_params()
        fill_model(model_params, model)
        # An empty list, not NULL, keeps the library from taking every GPU that it finds.
        chosen = ffi.new("ggml_backend_dev_t[2]")
        if model.gpu:
            chosen[0] = library.ggml_backend_dev_by_name(model.gpu.encode())
        model_params.devices = chosen
        loaded = library.llama_model_load_from_file(path.encode(), model_params)
        if loaded == ffi.NULL:
            return None
        options = context.within(int(library.llama_model_n_ctx_train(loaded)))
        context_params = library.llama_context_default_params()
        fill_context(context_params, options)
        watch = self._watching(options)
        if options.watch is not None:
            context_params.cb_eval = ffi.cast(ffi.typeof(context_params.cb_eval), watch)
        made = library.llama_init_from_model(loaded, context_params)
        if made == ffi.NULL:
            library.llama_model_free(loaded)
            return None
        return CffiDecoder(ffi, library, loaded, made, options, watch)

    def _watching(self, options: ContextOptions) -> Any:
        watch, ffi = options.watch, self._ffi

        def called(tensor: Any, ask: bool, _: Any) -> bool:
            return watch is None or watch(int(ffi.cast("uintptr_t", tensor)), ask)

        return ffi.callback("bool(void *, bool, void *)", called)

    def quantize(self, source: str, target: str, options: QuantizeOptions) -> int:
        """Write the file ``source`` in another type; 0 or the library's code (see its log)."""
        ffi, library = self._ffi, self._library
        params = ffi.new("struct llama_model_quantize_params *", library.llama_model_quantize_default_params())
        fill_quantize(params, options, _PACKAGE)
        kept: list[Any] = []  # what the structure only points to
        if options.importance is not None:
            params.imatrix = self._matrices(options.importance, kept)
            params.kv_overrides = self._overrides(options.importance, kept)
        return int(library.llama_model_quantize(source.encode(), target.encode(), params))

    def _matrices(self, importance: Importance, kept: list[Any]) -> Any:
        """A list that a nameless entry ends.

        Older versions of llama.cpp wanted an object of C++ there, which cannot be made from here.
        """
        ffi, means = self._ffi, importance.means
        try:
            entries = ffi.new("struct llama_model_imatrix_data[]", len(means) + 1)
        except (ffi.error, TypeError) as error:
            raise UnavailableError(
                f"the installed {_PACKAGE} cannot be given an importance matrix",
                hint=f"install a newer {_PACKAGE}, or set imatrix = false",
            ) from error
        for entry, (name, values) in zip(entries, means.items(), strict=False):
            word = ffi.new("char[]", name.encode())
            kept.append(word)
            entry.name, entry.size = word, len(values)
            entry.data = ffi.cast("float *", ffi.from_buffer(values))
        kept.append(entries)
        return entries

    def _overrides(self, importance: Importance, kept: list[Any]) -> Any:
        """What the file is to say of the matrix; an entry without a key ends the list."""
        counts = {IMPORTANCE_MATRICES: len(importance.means), IMPORTANCE_SEQUENCES: importance.sequences}
        entries = self._ffi.new("struct llama_model_kv_override[]", len(counts) + 1)
        for entry, (key, value) in zip(entries, counts.items(), strict=False):
            entry.tag, entry.key, entry.val_i64 = OVERRIDE_INT, key.encode(), value
        kept.append(entries)
        return entries

    def system_info(self) -> str:
        """What the library was built with, in its own words."""
        text: bytes = self._ffi.string(self._library.llama_print_system_info())
        return text.decode("utf-8", "replace").strip()

    def gpus(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds, by the library's name of them."""
        library, string = self._library, self._ffi.string
        devices = [library.ggml_backend_dev_get(index) for index in range(library.ggml_backend_dev_count())]
        return {
            string(library.ggml_backend_dev_name(device)).decode(): string(
                library.ggml_backend_dev_description(device)
            ).decode()
            for device in devices
            if library.ggml_backend_dev_type(device) in GPU_TYPES
        }


class CffiDecoder:
    """One context of ``llama-cpp-py-sync``."""

    def __init__(self, ffi: Any, library: Any, model: Any, context: Any, options: ContextOptions, watch: Any) -> None:
        self._watch = watch  # the library keeps the address of the callback alone
        self._ffi, self._library, self._model, self._context = ffi, library, model, context
        self._memory = library.llama_get_memory(context)
        vocabulary = library.llama_model_get_vocab(model)
        self.vocabulary_size = int(library.llama_vocab_n_tokens(vocabulary))
        self.context_tokens = options.context_tokens
        capacity = options.batch_tokens
        # Variables of this object: a batch holds only pointers to them.
        self._token_buffer = ffi.new("int32_t[]", capacity)
        self._wanted = ffi.new("int8_t[]", [1] * capacity)
        self.tokens = np.frombuffer(ffi.buffer(self._token_buffer), np.int32)
        self._one = library.llama_batch_get_one(self._token_buffer, 1)
        self._many = library.llama_batch_get_one(self._token_buffer, capacity)
        self._every = library.llama_batch_get_one(self._token_buffer, capacity)
        self._every.logits = self._wanted
        self._run = library.llama_decode
        self._logits_ith = library.llama_get_logits_ith
        self._seen: Any = None
        self._view: Any = None

    def decode(self, count: int, *, every: bool = False) -> int:
        """Decode the first ``count`` tokens; 0 or llama_decode's code."""
        batch = self._every if every else self._many
        batch.n_tokens = count
        return int(self._run(self._context, batch))

    def decode_one(self) -> int:
        """Decode the first token alone: the step of a generation."""
        return int(self._run(self._context, self._one))

    def last_logits(self) -> Any:
        """Logits after the last token, on the library's own memory."""
        pointer = self._logits_ith(self._context, -1)
        if pointer != self._seen:  # the library moves its buffer when it needs a larger one
            self._view = self._floats(pointer, self.vocabulary_size)
            self._seen = pointer
        return self._view

    def all_logits(self, count: int) -> Any:
        """Logits after each of the ``count`` tokens of the last call with ``every``."""
        pointer = self._logits_ith(self._context, 0)
        return self._floats(pointer, count * self.vocabulary_size).reshape(count, -1)

    def tokenize(self, text: str) -> list[int] | None:
        """Ids of a text without special tokens; ``None`` if the file has no vocabulary."""
        library = self._library
        vocabulary = library.llama_model_get_vocab(self._model)
        if library.llama_vocab_type(vocabulary) == VOCABULARY_NONE:
            return None
        encoded = text.encode()
        room = self._ffi.new("int32_t[]", len(encoded) + 1)  # no token is shorter than a byte
        count = library.llama_tokenize(vocabulary, encoded, len(encoded), room, len(encoded) + 1, False, False)
        return list(room[0 : max(0, count)])

    def forget(self, first: int, end: int) -> bool:
        """Forget the positions [first, end); the others keep theirs. False where it cannot."""
        return bool(self._library.llama_memory_seq_rm(self._memory, 0, first, end))

    def clear(self) -> None:
        """Forget all positions; what is allocated stays."""
        self._library.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Free the context and the model."""
        if self._context is None:
            return
        self._view = None
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)
        self._context = self._model = None

    def _floats(self, pointer: Any, count: int) -> Any:
        return np.frombuffer(self._ffi.buffer(pointer, count * 4), np.float32)
