"""llama.cpp's calls: loading, quantizing, and the structures that say how.

The calls and structures are those of llama.h; the packages that bring it differ in what
:mod:`joulebench_plugins.llamacpp.native` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from joulebench.errors import ModelError, UnavailableError
from joulebench_plugins.llamacpp.decoder import Decoder
from joulebench_plugins.llamacpp.log import LibraryLog
from joulebench_plugins.llamacpp.native import Native, Watch

# llama.h
LOAD_MODE_READ: Final = 0
LOAD_MODE_MMAP: Final = 1
SPLIT_MODE_NONE: Final = 0
SPLIT_MODE_LAYER: Final = 1
ALL_LAYERS: Final = -1
_FTYPE_Q8_0: Final = 7
#: Under which a quantized file says what its importance matrix was made of (llama-quant.cpp).
IMPORTANCE_MATRICES: Final = "quantize.imatrix.entries_count"
IMPORTANCE_SEQUENCES: Final = "quantize.imatrix.chunks_count"
FLASH_ATTENTION: Final = {"auto": -1, "off": 0, "on": 1}
#: ggml.h, enum ggml_type
GGML_TYPES: Final = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a file is loaded. ``gpu_layers`` of ``None`` are all, on a ``gpu``."""

    mmap: bool
    #: The library's name of the GPU (``CUDA0``); ``None`` keeps everything on the CPU.
    gpu: str | None
    gpu_layers: int | None


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """How a context is made; KV types and flash attention by their names here."""

    context_tokens: int
    batch_tokens: int
    ubatch_tokens: int
    #: Most tokens whose logits are wanted at once.
    logits_tokens: int
    threads: int
    kv_type_k: str
    kv_type_v: str
    flash_attention: str
    offload: bool
    #: Cells of the KV cache, where fewer are wanted than there are positions.
    cells: int | None = None
    #: Called with the address of each tensor that is computed; see importance.py.
    watch: Watch | None = None

    def within(self, trained_context: int) -> ContextOptions:
        """These options with no more positions than the model was trained for."""
        tokens = min(self.context_tokens, trained_context)
        cells = None if self.cells is None else min(self.cells, tokens)
        batch = min(self.batch_tokens, cells or tokens)
        return replace(self, context_tokens=tokens, batch_tokens=batch, cells=cells)


@dataclass(frozen=True, slots=True)
class Importance:
    """Mean squares of the inputs of matrices, by the matrix's name (numpy, float32)."""

    means: Mapping[str, Any]
    #: Stretches of text that they were taken from.
    sequences: int


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """What ``llama_model_quantize`` is asked for, by the library's numbers."""

    file_type: int
    pure: bool
    head_type: int | None
    threads: int
    importance: Importance | None


class Binding:
    """llama.cpp through one of the packages that bring it."""

    def __init__(self, native: Native, log: LibraryLog) -> None:
        self._native, self._api = native, native.api
        native.hear(log)
        self._api.llama_backend_init()
        defaults = self._api.llama_model_default_params(), self._api.llama_context_default_params()
        check_layout(*defaults, native.package)

    @property
    def package(self) -> str:
        """The distribution that brings the library."""
        return self._native.package

    def open(self, path: str, model: ModelOptions, context: ContextOptions) -> Decoder | None:
        """Load a file and make a context; ``None`` where the library refuses (see its log).

        Raises :class:`ModelError` for a model that writes no text.
        """
        api, native = self._api, self._native
        model_params = api.llama_model_default_params()
        fill_model(model_params, model)
        # An empty list, not NULL, keeps the library from taking every GPU that it finds.
        devices = native.devices(model.gpu)
        model_params.devices = devices
        loaded = api.llama_model_load_from_file(path.encode(), model_params)
        if not loaded:
            return None
        if fault := self._kind_fault(loaded):
            api.llama_model_free(loaded)
            raise ModelError(f"is no language model: {fault}", where=path)
        options = context.within(int(api.llama_model_n_ctx_train(loaded)))
        watch = native.watching(options.watch)

        def make_context(sequences: int) -> Any:
            params = api.llama_context_default_params()
            fill_context(params, options, sequences)
            if options.watch is not None:
                params.cb_eval = watch
            return api.llama_init_from_model(loaded, params)

        made = make_context(1)
        if not made:
            api.llama_model_free(loaded)
            return None
        return Decoder(native, loaded, make_context, made, options.context_tokens, options.batch_tokens, watch)

    def fault(self, path: str) -> str | None:
        """Why the library cannot open a file as a language model, found without its weights; or ``None``.

        An empty text where only the library's log tells.
        """
        api = self._api
        params = api.llama_model_default_params()
        fill_model(params, ModelOptions(mmap=False, gpu=None, gpu_layers=None))
        devices = self._native.devices(None)
        params.devices = devices
        if hasattr(params, "no_alloc"):  # looks for every tensor, in 0.1 s for one of 100 MB
            params.no_alloc = True
        else:
            params.vocab_only = True
        loaded = api.llama_model_load_from_file(path.encode(), params)
        if not loaded:
            return ""
        try:
            return self._kind_fault(loaded)
        finally:
            api.llama_model_free(loaded)

    def _kind_fault(self, loaded: Any) -> str | None:
        """Why a loaded model is none that a session can run, or ``None``."""
        if not self._api.llama_model_has_decoder(loaded):
            return "it is an encoder: it embeds texts and writes none"
        if self._api.llama_model_has_encoder(loaded):
            return "it reads a text with an encoder and answers with a decoder; only decoders are run"
        return None

    def quantize(self, source: str, target: str, options: QuantizeOptions) -> int:
        """Write the file ``source`` in another type; 0 or the library's code (see its log)."""
        native, importance = self._native, options.importance
        params = native.quantize_params()
        fill_quantize(params, options, native.package)
        kept: list[Any] = []  # what the structure only points to
        if importance is not None:
            params.imatrix = native.matrices(importance.means, kept)
            # What the file is to say of the matrix.
            counts = {IMPORTANCE_MATRICES: len(importance.means), IMPORTANCE_SEQUENCES: importance.sequences}
            params.kv_overrides = native.overrides(counts, kept)
        return native.quantize(source, target, params)

    def system_info(self) -> str:
        """What the library was built with, in its own words."""
        return self._native.text(self._api.llama_print_system_info()).strip()

    def gpu_devices(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds, by joulebench's name of them."""
        return {joulebench_name(name): text for name, text in self._native.gpus().items()}

    def gpu_name(self, device: str) -> str | None:
        """The library's name of a device (``CUDA0`` of ``cuda:0``)."""
        return next((name for name in self._native.gpus() if joulebench_name(name) == device), None)


def fill_model(params: Any, options: ModelOptions) -> None:
    """Set the fields of ``llama_model_params`` but ``devices``."""
    params.load_mode = LOAD_MODE_MMAP if options.mmap else LOAD_MODE_READ
    params.split_mode = SPLIT_MODE_NONE
    if options.gpu is None:
        params.n_gpu_layers = 0
    else:
        params.n_gpu_layers = ALL_LAYERS if options.gpu_layers is None else options.gpu_layers


def fill_context(params: Any, options: ContextOptions, sequences: int = 1) -> None:
    """Set the fields of ``llama_context_params``; each sequence has the whole of the options' positions."""
    params.n_ctx = (options.cells or options.context_tokens) * sequences
    params.n_seq_max = sequences
    params.n_batch = options.batch_tokens
    params.n_ubatch = min(options.ubatch_tokens, options.batch_tokens)
    # The library sets memory aside for this many rows of logits at once.
    params.n_outputs_max = min(options.logits_tokens, options.batch_tokens)
    params.n_threads = params.n_threads_batch = options.threads
    params.type_k = GGML_TYPES[options.kv_type_k]
    params.type_v = GGML_TYPES[options.kv_type_v]
    params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
    # Without these a library built for a GPU would still use it for prompts.
    params.offload_kqv = params.op_offload = options.offload
    # Layers that see a window only keep no more, as in llama.cpp's own programs; but positions can be
    # taken out of a cache of full size alone.
    params.swa_full = options.cells is not None


def fill_quantize(params: Any, options: QuantizeOptions, package: str) -> None:
    """Set the fields of ``llama_model_quantize_params`` but those that are pointers.

    Refuses a structure that is laid out differently than the package thinks: see check_layout.
    """
    no_type = params.token_embedding_type  # GGML_TYPE_COUNT, which grows with the library
    expected = {
        "nthread": 0,
        "ftype": _FTYPE_Q8_0,
        "output_tensor_type": no_type,
        "allow_requantize": False,
        "quantize_output_tensor": True,
        "only_copy": False,
        "pure": False,
        "keep_split": False,
    }
    unlike = [name for name, value in expected.items() if getattr(params, name) != value]
    if unlike or int(no_type) <= max(GGML_TYPES.values()):
        raise _unfit(package, unlike or ["token_embedding_type"])
    params.nthread = options.threads
    params.ftype = options.file_type
    params.pure = options.pure
    if options.head_type is not None:
        params.output_tensor_type = options.head_type


def check_layout(model: Any, context: Any, package: str) -> None:
    """Refuse a library whose structures are laid out differently than the package thinks.

    llama.h has no version and no sizes. The defaults that the library fills in stand at the
    right places only if the layouts agree, and a shifted flag would otherwise act silently.
    """
    # Defaults that have never changed, spread over both structures.
    expected = {
        "split_mode": (model, SPLIT_MODE_LAYER),
        "vocab_only": (model, False),
        "n_seq_max": (context, 1),
        "rope_scaling_type": (context, -1),
        "flash_attn_type": (context, FLASH_ATTENTION["auto"]),
        "yarn_ext_factor": (context, -1.0),
        "type_k": (context, GGML_TYPES["f16"]),
        "type_v": (context, GGML_TYPES["f16"]),
        "embeddings": (context, False),
        "offload_kqv": (context, True),
        "n_samplers": (context, 0),
    }
    unlike = [name for name, (params, value) in expected.items() if getattr(params, name, None) != value]
    for params, name in ((model, "load_mode"), (context, "n_outputs_max")):
        if not hasattr(params, name):
            unlike.append(name)
    if unlike:
        raise _unfit(package, unlike)


def _unfit(package: str, unlike: Sequence[str]) -> UnavailableError:
    return UnavailableError(
        f"{package} and the llama.cpp library that it loads do not fit together (unexpected: {', '.join(unlike)})",
        hint=f"install a current {package} anew, and set no variable that points it at "
        "another library (LLAMA_CPP_LIB_PATH, LLAMA_CPP_LIB)",
    )


def joulebench_name(device: str) -> str:
    """``cuda:0`` of ``CUDA0``; a name without a number stays as it is, in small letters."""
    letters = device.rstrip("0123456789")
    number = device[len(letters) :]
    return f"{letters.lower()}:{number}" if number else letters.lower()
