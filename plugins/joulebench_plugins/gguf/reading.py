"""A GGUF file opened for reading: typed metadata and dequantized tensors."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any, TypeVar

from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.shared.tensors.gguf import read_model

_T = TypeVar("_T")


class GgufMetadata:
    """What the header of a GGUF model says, without the ``gguf`` package.

    Getters return ``None`` for an absent key and raise :class:`ModelError` for a value of
    another type. Key names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Read first: it believes no count in the file, and finds damage.
        self.model = read_model(path)
        self._shapes = {tensor.name: tuple(reversed(tensor.sizes)) for tensor in self.model.tensors}

    def text(self, key: str) -> str | None:
        """A string."""
        return self._typed(key, str)

    def integer(self, key: str) -> int | None:
        """An integer (not a bool, nor a list with one value per layer)."""
        return self._typed(key, int)

    def flag(self, key: str) -> bool | None:
        """A truth value."""
        return self._typed(key, bool)

    def number(self, key: str) -> float | None:
        """A float32, as the shortest decimal that stands for it (1e-05, not 9.99999975e-06)."""
        value = self._typed(key, float)
        return None if value is None else _shortest(value)

    def token_id(self, role: str, tokens: int) -> int | None:
        """Which of so many tokens has a role (``bos``, ``eos``, ``eot``, ``padding``, ``unknown``)."""
        key = f"tokenizer.ggml.{role}_token_id"
        index = self.integer(key)
        if index is not None and not 0 <= index < tokens:
            raise ModelError(f"metadata '{key}' is {index:,}; there are {tokens:,} tokens", where=str(self.path))
        return index

    def needed_integer(self, key: str) -> int:
        """A count from 1 without which the model cannot be understood."""
        value = self.integer(key)
        if value is None or value < 1:
            state = f"lacks '{key}'" if value is None else f"has no usable '{key}' ({value})"
            raise ModelError(f"metadata {state}", where=str(self.path))
        return value

    @property
    def tensor_names(self) -> list[str]:
        """Names of all tensors, in the file's order."""
        return list(self._shapes)

    def tensor_shape(self, name: str) -> tuple[int, ...]:
        """Shape with the rows first (GGUF stores the reverse)."""
        return self._shapes[name]

    def _value(self, key: str) -> object:
        return self.model.values.get(key)

    def _typed(self, key: str, kind: type[_T]) -> _T | None:
        value = self._value(key)
        if value is None:
            return None
        # Exactly that type: a bool is an int to isinstance.
        if type(value) is not kind:
            raise ModelError(
                f"metadata '{key}' is a {type(value).__name__}, not a {kind.__name__}", where=str(self.path)
            )
        return value


class GgufFile(GgufMetadata):
    """Metadata with its lists, and dequantized tensors, of one GGUF file mapped into memory."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        super().__init__(path)
        if len(self.model.files) > 1:
            raise ArtifactError(
                f"is split into {len(self.model.files)} files; one is imported",
                where=str(path),
                hint="merge them with llama.cpp's llama-gguf-split --merge",
            )
        try:
            self._reader: Any = GGUFReader(path)
        # The reader indexes into the mapped file unchecked: damage surfaces as any of these.
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError) as error:
            raise ModelError(
                f"not a complete GGUF file ({error})", where=str(path), hint="fetch the file again"
            ) from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def texts(self, key: str) -> list[str] | None:
        """A list of strings."""
        return self._typed(key, list)

    def integers(self, key: str) -> list[int] | None:
        """A list of integers."""
        return self._typed(key, list)

    def _value(self, key: str) -> object:
        field = self._reader.fields.get(key)
        try:
            return None if field is None else field.contents()
        except (ValueError, IndexError, TypeError) as error:  # texts are decoded here, not before
            raise ModelError(f"metadata '{key}' is damaged: {error}", where=str(self.path)) from None

    def tensor(self, name: str) -> Any:
        """The tensor's values as a float32 numpy array."""
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise ArtifactError(
                f"tensor '{name}': type {tensor.tensor_type.name} cannot be dequantized here", where=str(self.path)
            ) from error
        return values.astype("float32", copy=False).reshape(self.tensor_shape(name))


def _shortest(value: float) -> float:
    """The decimal of the fewest digits that is this float32; any has one of nine."""
    for digits in range(1, 9):
        rounded = float(f"{value:.{digits}g}")
        # Rounded up, the largest of them would be beyond the type.
        with contextlib.suppress(OverflowError):
            if struct.unpack("<f", struct.pack("<f", rounded)) == (value,):
                return rounded
    return float(f"{value:.9g}")
