"""Reads channels at a window's edges, in the process that measures.

Leaner than :func:`joulebench.meter.live.sampler.edge_reader` (an empty window costs two reads of
everything), and it can be closed. Reading is safe from several threads at once as far as the
readers are: files are read by ``pread``, which moves no position.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from joulebench.api import Channel, FileSource
from joulebench.meter.live.channels import PID_FIELD, of_machine
from joulebench.meter.live.sampler import FileReader, item_of, load_factory

_Items = Callable[[], Sequence[int | tuple[int, int] | None]]


class EdgeReader:
    """Keeps the sources of some channels open. A source that cannot be opened reads ``None``.

    So does one that the sampler alone may open.

    Without a process id, readers of process channels get an empty one and know what that means.
    """

    def __init__(self, channels: Sequence[Channel], pid: int | None) -> None:
        own = "" if pid is None else str(pid)
        self._files: list[FileReader] = []
        self._singles: list[Callable[[], int | None]] = []
        self._objects: list[tuple[_Items, list[tuple[int, int]]]] = []
        shared: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for place, channel in enumerate(channels):
            source = channel.source
            single: Callable[[], int | None] = _nothing
            if isinstance(source, FileSource):
                with contextlib.suppress(OSError):
                    single = self._open(source, own)
            elif not of_machine(channel):
                argument = source.argument.replace(PID_FIELD, own)
                name = (source.factory, argument)
                if name not in shared:
                    shared[name] = []
                    # A reader is a plugin's code and may fail in any way, here or when it reads.
                    with contextlib.suppress(Exception):
                        reader = load_factory(source.factory)(argument)
                        self._objects.append((reader.read, shared[name]))
                shared[name].append((place, source.item))
            self._singles.append(single)
        self._singles_only = not self._objects

    def _open(self, source: FileSource, own: str) -> Callable[[], int | None]:
        path = source.path.replace(PID_FIELD, own)
        file = FileReader(path, source.key, source.columns, source.after)
        self._files.append(file)
        return file.read

    def read(self) -> list[int | None]:
        """All channels now, in the order in which they were given."""
        values = [read() for read in self._singles]
        if self._singles_only:
            return values
        for read_items, places in self._objects:
            try:
                items = read_items()
                for place, item in places:
                    values[place] = item_of(items, item)
            except Exception:  # noqa: S112  the channel has no figure then, and says so
                continue
        return values

    def close(self) -> None:
        """Close the files; afterwards everything reads ``None``."""
        self._singles = [_nothing] * len(self._singles)
        self._objects = []
        self._singles_only = True
        for file in self._files:
            file.close()
        self._files = []


def _nothing() -> None:
    return None
