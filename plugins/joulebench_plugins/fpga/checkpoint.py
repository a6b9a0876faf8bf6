"""The weights of a checkpoint, and which of them the model has used."""

from __future__ import annotations

from pathlib import Path

from joulebench.errors import ModelError
from joulebench_plugins.fpga.arithmetic import Array
from joulebench_plugins.shared.tensors import arrays


class TrackedCheckpoint(arrays.Checkpoint):
    """A checkpoint that knows which of its tensors were read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._unread = set(self.names())

    def tensor(self, name: str, shape: tuple[int, ...]) -> Array:
        """The tensor as float32. One that is missing or of another shape raises ModelError."""
        values = super().tensor(name, shape)
        self._unread.discard(name)
        return values

    def refuse_unread(self, ignored: frozenset[str]) -> None:
        """Raise ModelError where tensors were never read: the model has layers unknown here."""
        left = sorted(self._unread - ignored)
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise ModelError(
                f"has tensors of layers that are not modelled: '{left[0]}'{more}",
                where=str(self.folder),
                hint="only plain llama layers without biases run on the engine",
            )
