"""What the packages that bring llama.cpp do differently: calls of C, and values for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from joulebench_plugins.llamacpp.log import LibraryLog

#: ggml-backend.h, enum ggml_backend_dev_type: a GPU of its own, or one in the processor.
GPU_TYPES: Final = (1, 2)
#: llama.h, enum llama_model_kv_override_type
OVERRIDE_INT: Final = 0
#: The library keeps the address of its log callback for as long as the process lives.
LOG_CALLBACKS: Final[list[Any]] = []

#: Called with the address of each tensor that is computed; see importance.py.
Watch = Callable[[int, bool], bool]


class Native(ABC):
    """llama.h through one of the packages.

    ``api`` has its functions as attributes under their names in llama.h. An empty pointer is
    false, and an assignment to a structure's field reads the same, in both.
    """

    package: ClassVar[str]
    api: Any
    #: The empty pointer as an argument.
    null: Any = None

    @abstractmethod
    def hear(self, log: LibraryLog) -> None:
        """Send the library's log there."""

    @abstractmethod
    def text(self, value: Any) -> str:
        """A C string, which must not be the empty pointer."""

    @abstractmethod
    def devices(self, name: str | None) -> Any:
        """A list for ``llama_model_params.devices`` of one device, or of none."""

    @abstractmethod
    def watching(self, watch: Watch | None) -> Any:
        """A callback for ``llama_context_params.cb_eval``."""

    @abstractmethod
    def quantize(self, source: str, target: str, params: Any) -> int:
        """``llama_model_quantize`` with a structure of :meth:`quantize_params`."""

    @abstractmethod
    def quantize_params(self) -> Any:
        """``llama_model_quantize_params`` with the library's defaults."""

    @abstractmethod
    def matrices(self, means: Mapping[str, Any], kept: list[Any]) -> Any:
        """An importance matrix: a list that a nameless entry ends. What it points to goes to ``kept``."""

    @abstractmethod
    def overrides(self, counts: Mapping[str, int], kept: list[Any]) -> Any:
        """Whole numbers for a file's metadata: a list that an entry without a key ends."""

    @abstractmethod
    def integers(self, count: int) -> tuple[Any, Any]:
        """Room for so many int32: as C takes it, and as a numpy array."""

    @abstractmethod
    def ones(self, count: int) -> Any:
        """So many int8 of 1."""

    @abstractmethod
    def characters(self, count: int) -> Any:
        """Room for so many bytes."""

    @abstractmethod
    def bytes_of(self, characters: Any, count: int) -> bytes:
        """The first ``count`` of :meth:`characters`."""

    @abstractmethod
    def floats(self, address: Any, count: int) -> Any:
        """A numpy array of float32 on the library's own memory."""

    @abstractmethod
    def logits_call(self) -> Callable[[Any, int], Any]:
        """``llama_get_logits_ith``, of which equal results are equal addresses."""

    @abstractmethod
    def gpus(self) -> Mapping[str, str]:
        """Descriptions of the GPUs that the library finds, by the library's name of them."""
