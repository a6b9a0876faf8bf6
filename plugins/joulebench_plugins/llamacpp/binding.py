"""What the backend needs of a binding of llama.cpp, and what both bindings share.

The calls and structures are those of llama.h; both packages give them, one through ctypes, one
through CFFI, and assignments to a structure's fields read the same in both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from joulebench.errors import UnavailableError

#: ggml-backend.h, enum ggml_backend_dev_type: a GPU of its own, or one in the processor.
GPU_TYPES: Final = (1, 2)
#: The library keeps the address of its log callback for as long as the process lives.
LOG_CALLBACKS: Final[list[Any]] = []
# llama.h
LOAD_MODE_READ: Final = 0
LOAD_MODE_MMAP: Final = 1
SPLIT_MODE_NONE: Final = 0
SPLIT_MODE_LAYER: Final = 1
ALL_LAYERS: Final = -1
VOCABULARY_NONE: Final = 0
_FTYPE_Q8_0: Final = 7
#: llama.h, enum llama_model_kv_override_type
OVERRIDE_INT: Final = 0
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
    watch: Callable[[int, bool], bool] | None = None

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


class Decoder(Protocol):
    """A model's context with the token buffer that it decodes from.

    ``tokens`` is a numpy array of int32 that the library reads: write ids there, then decode.
    The library gives each token the position after the last one.
    """

    tokens: Any
    vocabulary_size: int
    #: Positions that one sequence may take.
    context_tokens: int

    def decode(self, count: int, *, every: bool = False) -> int:
        """Decode the first ``count`` tokens; 0 or llama_decode's code.

        Logits follow the last token, or ``every`` one of them.
        """

    def decode_one(self) -> int:
        """Decode the first token alone: the step of a generation."""

    def last_logits(self) -> Any:
        """Logits after the last token: a float32 array on the library's own memory."""

    def all_logits(self, count: int) -> Any:
        """Logits after each of the ``count`` tokens of the last call with ``every``."""

    def tokenize(self, text: str) -> list[int] | None:
        """Ids of a text without special tokens; ``None`` if the file has no vocabulary."""

    def forget(self, first: int, end: int) -> bool:
        """Forget the positions [first, end); the others keep theirs. False where it cannot."""

    def clear(self) -> None:
        """Forget all positions; what is allocated stays."""

    def close(self) -> None:
        """Free the context and the model."""


class Binding(ABC):
    """llama.cpp as one of the packages gives it."""

    @abstractmethod
    def open(self, path: str, model: ModelOptions, context: ContextOptions) -> Decoder | None:
        """Load a file and make a context; ``None`` where the library refuses (see its log)."""

    @abstractmethod
    def quantize(self, source: str, target: str, options: QuantizeOptions) -> int:
        """Write the file ``source`` in another type; 0 or the library's code (see its log)."""

    @abstractmethod
    def gpus(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds, by the library's name of them."""

    @abstractmethod
    def system_info(self) -> str:
        """What the library was built with, in its own words."""

    def gpu_devices(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds, by joulebench's name of them."""
        return {joulebench_name(name): text for name, text in self.gpus().items()}

    def gpu_name(self, device: str) -> str | None:
        """The library's name of a device (``CUDA0`` of ``cuda:0``)."""
        return next((name for name in self.gpus() if joulebench_name(name) == device), None)


def fill_model(params: Any, options: ModelOptions) -> None:
    """Set the fields of ``llama_model_params`` but ``devices``."""
    params.load_mode = LOAD_MODE_MMAP if options.mmap else LOAD_MODE_READ
    params.split_mode = SPLIT_MODE_NONE
    if options.gpu is None:
        params.n_gpu_layers = 0
    else:
        params.n_gpu_layers = ALL_LAYERS if options.gpu_layers is None else options.gpu_layers


def fill_context(params: Any, options: ContextOptions) -> None:
    """Set the fields of ``llama_context_params``."""
    params.n_ctx = options.cells or options.context_tokens
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
