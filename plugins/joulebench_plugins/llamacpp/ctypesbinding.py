"""llama.cpp through ``llama-cpp-python``: its low-level module, which is ctypes over llama.h."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

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

_PACKAGE: Final = "llama-cpp-python"


class CtypesBinding(Binding):
    """The library that lies in the package ``llama_cpp``."""

    def __init__(self, log: LibraryLog) -> None:
        from llama_cpp import llama_cpp as api

        self._api = api
        self._library: Any = api._lib
        callback = api.llama_log_callback(lambda level, text, _: log.add(level, text.decode("utf-8", "replace")))
        LOG_CALLBACKS.append(callback)
        api.llama_log_set(callback, ctypes.c_void_p(0))
        api.llama_backend_init()
        check_layout(api.llama_model_default_params(), api.llama_context_default_params(), _PACKAGE)

    def open(self, path: str, model: ModelOptions, context: ContextOptions) -> CtypesDecoder | None:
        """Load a file and make a context; ``None`` where the library refuses (see its log)."""
        api = self._api
        model_params = api.llama_model_default_params()
        fill_model(model_params, model)
        # An empty list, not NULL, keeps the library from taking every GPU that it finds.
        chosen = (ctypes.c_void_p * 2)(self._device(model.gpu) if model.gpu else None, None)
        model_params.devices = ctypes.cast(chosen, ctypes.c_void_p)
        loaded = api.llama_model_load_from_file(path.encode(), model_params)
        if not loaded:
            return None
        options = context.within(int(api.llama_model_n_ctx_train(loaded)))
        context_params = api.llama_context_default_params()
        fill_context(context_params, options)
        watch = api.ggml_backend_sched_eval_callback(_watching(options))
        if options.watch is not None:
            context_params.cb_eval = watch
        made = api.llama_init_from_model(loaded, context_params)
        if not made:
            api.llama_model_free(loaded)
            return None
        return CtypesDecoder(api, loaded, made, options, watch)

    def quantize(self, source: str, target: str, options: QuantizeOptions) -> int:
        """Write the file ``source`` in another type; 0 or the library's code (see its log)."""
        api = self._api
        params = api.llama_model_quantize_default_params()
        fill_quantize(params, options, _PACKAGE)
        if options.importance is not None:
            params.imatrix = self._matrices(options.importance)
            params.kv_overrides = self._overrides(options.importance)
        return int(api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)))

    def _matrices(self, importance: Importance) -> Any:
        """A list that a nameless entry ends."""
        means = importance.means
        entries = (self._api.llama_model_imatrix_data * (len(means) + 1))()
        for entry, (name, values) in zip(entries, means.items(), strict=False):
            entry.name = name.encode()
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = len(values)
        return entries

    def _overrides(self, importance: Importance) -> Any:
        """What the file is to say of the matrix; an entry without a key ends the list."""
        counts = {IMPORTANCE_MATRICES: len(importance.means), IMPORTANCE_SEQUENCES: importance.sequences}
        entries = (self._api.llama_model_kv_override * (len(counts) + 1))()
        for entry, (key, value) in zip(entries, counts.items(), strict=False):
            entry.tag, entry.key, entry.value.val_i64 = OVERRIDE_INT, key.encode(), value
        return entries

    def system_info(self) -> str:
        """What the library was built with, in its own words."""
        text: bytes = self._api.llama_print_system_info()
        return text.decode("utf-8", "replace").strip()

    def gpus(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds, by the library's name of them."""
        library = self._library
        describe = {}
        for name in ("name", "description"):
            describe[name] = library[f"ggml_backend_dev_{name}"]
            describe[name].restype, describe[name].argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        get, kind = library["ggml_backend_dev_get"], library["ggml_backend_dev_type"]
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        kind.restype, kind.argtypes = ctypes.c_int, [ctypes.c_void_p]
        count = library["ggml_backend_dev_count"]
        count.restype = ctypes.c_size_t
        devices = [get(index) for index in range(count())]
        return {
            describe["name"](device).decode(): describe["description"](device).decode()
            for device in devices
            if kind(device) in GPU_TYPES
        }

    def _device(self, name: str) -> int:
        find = self._library["ggml_backend_dev_by_name"]
        find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
        return int(find(name.encode()))


class CtypesDecoder:
    """One context of ``llama-cpp-python``."""

    def __init__(self, api: Any, model: Any, context: Any, options: ContextOptions, watch: Any) -> None:
        self._api, self._model, self._context = api, model, context
        self._watch = watch  # the library keeps the address of the callback alone
        self._memory = api.llama_get_memory(context)
        self.vocabulary_size = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        self.context_tokens = options.context_tokens
        capacity = options.batch_tokens
        # Variables of this object: a batch holds only pointers to them.
        self._token_buffer = (ctypes.c_int32 * capacity)()
        self._wanted = (ctypes.c_int8 * capacity)(*([1] * capacity))
        self.tokens = np.frombuffer(self._token_buffer, np.int32)
        self._one = api.llama_batch_get_one(self._token_buffer, 1)
        self._many = api.llama_batch_get_one(self._token_buffer, capacity)
        self._every = api.llama_batch_get_one(self._token_buffer, capacity)
        self._every.logits = self._wanted
        self._run = api.llama_decode
        self._address = _address_of_logits(api)
        self._seen: int | None = None
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
        address = self._address(self._context, -1)
        if address != self._seen:  # the library moves its buffer when it needs a larger one
            self._view = _floats(address, self.vocabulary_size)
            self._seen = address
        return self._view

    def all_logits(self, count: int) -> Any:
        """Logits after each of the ``count`` tokens of the last call with ``every``."""
        address = self._address(self._context, 0)
        return _floats(address, count * self.vocabulary_size).reshape(count, -1)

    def tokenize(self, text: str) -> list[int] | None:
        """Ids of a text without special tokens; ``None`` if the file has no vocabulary."""
        vocabulary = self._api.llama_model_get_vocab(self._model)
        if self._api.llama_vocab_type(vocabulary) == VOCABULARY_NONE:
            return None
        encoded = text.encode()
        room = (ctypes.c_int32 * (len(encoded) + 1))()  # no token is shorter than a byte
        count = self._api.llama_tokenize(vocabulary, encoded, len(encoded), room, len(room), False, False)
        return list(room[: max(0, count)])

    def forget(self, first: int, end: int) -> bool:
        """Forget the positions [first, end); the others keep theirs. False where it cannot."""
        return bool(self._api.llama_memory_seq_rm(self._memory, 0, first, end))

    def clear(self) -> None:
        """Forget all positions; what is allocated stays."""
        self._api.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Free the context and the model."""
        if self._context is None:
            return
        self._view = None
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)
        self._context = self._model = None


def _watching(options: ContextOptions) -> Any:
    """The callback for a tensor's address, which ctypes gives as ``None`` where it is 0."""
    watch = options.watch
    return lambda tensor, ask, _: watch is None or watch(tensor or 0, ask)


def _address_of_logits(api: Any) -> Any:
    """``llama_get_logits_ith`` with a plain number as its result: no object is made a step."""
    call = api._lib["llama_get_logits_ith"]
    call.restype, call.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int32]
    return call


def _floats(address: int, count: int) -> Any:
    return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32)
