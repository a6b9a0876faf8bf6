"""The sampler: one file, standard library only, started as ``python -I -S sampler.py``.

It runs in a process of its own (a thread in the worker would wait for the interpreter lock), keeps
descriptors open, reads each source at absolute deadlines and writes fixed-size records into a
memory-mapped ring that the parent drains. A missed tick is counted, never made up.

The readers here also serve the window edges in the worker and the parent.
"""

from __future__ import annotations

import marshal
import mmap
import os
import struct
import sys
import time
from operator import index as index_of

TYPE_CHECKING = False  # as in typing, whose import would cost the sampler milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol, TypedDict, final

    @final
    class FileSpec(TypedDict):
        """A file and where its number stands, as a value of JSON: a :class:`joulebench.api.FileSource`."""

        channel: int
        path: str
        key: str | None
        columns: list[int]
        after: str | None

    @final
    class ReaderSpec(TypedDict):
        """A reader and which of its numbers, as a value of JSON: a :class:`joulebench.api.ReaderSource`."""

        channel: int
        factory: str
        argument: str
        item: int

    SourceSpec = FileSpec | ReaderSpec

    class GroupSpec(TypedDict):
        """Sources that are read at one rate."""

        period_ns: int
        sources: list[SourceSpec]

    #: A number, or it with the moment of which it tells (``time.perf_counter_ns()``).
    Item = int | tuple[int, int] | None

    class Reader(Protocol):
        """What a reader module's factory returns."""

        def read(self) -> Sequence[Item]:
            """All its items now."""
            ...

    #: When, what, which channel; and the reading's own time where it has one.
    Put = Callable[[int, int | None, int, int | None], None]


# The ring's header: see the offsets below. All numbers are native 64-bit integers.
HEADER_BYTES = 128
RECORD = struct.Struct("=qqii")  # t_ns, raw, channel, kind
WORD = struct.Struct("=q")

OFFSET_CAPACITY = 0  # records that the ring holds
OFFSET_HEAD = 8  # records written since the start
OFFSET_TICKS = 16  # deadlines of the fastest group served
OFFSET_MISSED = 24  # deadlines that had passed altogether
OFFSET_CONTROL = 32  # RUN, PAUSE or STOP, written by the parent
OFFSET_EPOCH = 40  # raised by the parent before it lets a paused sampler go on
OFFSET_READY = 48  # 1 when every source has been opened
OFFSET_ROUNDS = 56  # ticks at which every group was read
OFFSET_SERVED = 64  # when the last tick had been served, in ns

RUN, STOP, PAUSE = 0, 1, 2
KIND_SAMPLE, KIND_FAULT, KIND_LATENESS, KIND_SLOW, KIND_STAMPED = 0, 1, 2, 3, 4
#: Channel number of the lateness records.
NO_CHANNEL = -1

#: What may stand around a number in a file of the kernel.
_PADDING = b" \t\n\r\0"

#: A read that takes more than this share of its period is slow; so many in a row are no accident …
SLOW_SHARE = 0.5
SLOW_TIMES = 3
#: … and its reader then rests for so many times as long, so that the other sensors are read in time.
REST_TIMES = 20

#: Non-blocking, so that a pipe in place of a file hangs nobody: it cannot be read by ``pread``.
_OPENING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

clock_ns = time.perf_counter_ns


class FileReader:
    """Reads one number from a file by ``pread`` on a kept descriptor (see ``api.FileSource``)."""

    __slots__ = ("_after", "_columns", "_fd", "_key", "_path", "_plain", "_size")

    def __init__(
        self, path: str, key: str | None = None, columns: Sequence[int] = (0,), after: str | None = None
    ) -> None:
        self._path = path
        self._fd = os.open(path, _OPENING)
        self._key = key.encode() if key is not None else None
        self._after = after.encode() if after is not None else None
        self._columns = tuple(columns)
        self._plain = key is None and after is None and self._columns == (0,)
        self._size = 64 if self._plain else 8192

    def read(self) -> int | None:
        """The number now; ``None`` if the file has gone or holds none.

        A file that has gone is opened anew for the next time: a device may come back.
        """
        try:
            text = os.pread(self._fd, self._size, 0)
        except OSError:
            self._reopen()
            return None
        try:
            if self._plain:
                return _whole(_number(text))
            if self._after is not None:
                text = text[text.rindex(self._after) + len(self._after) :]
            if self._key is not None:
                start = 0 if text.startswith(self._key) else text.index(b"\n" + self._key) + 1
                end = text.find(b"\n", start)
                text = text[start:] if end < 0 else text[start:end]
            fields = text.split()
            return _whole(sum(_number(fields[column]) for column in self._columns))
        except (ValueError, IndexError):
            return None

    def _reopen(self) -> None:
        try:
            fresh = os.open(self._path, _OPENING)
        except OSError:
            return
        try:
            os.dup2(fresh, self._fd, inheritable=False)  # under the same number: another thread may be reading
        except OSError:  # closed by its owner
            return
        finally:
            os.close(fresh)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


def _number(text: bytes) -> int:
    """A whole number, decimal or (0x…) hexadecimal, as the kernel prints it; nothing else is a count."""
    digits = text.strip(_PADDING)
    if digits.isdigit():
        return int(digits)
    if digits[:1] in b"+-" and digits[1:].isdigit():
        return int(digits)
    if digits[:2].lower() == b"0x" and b"_" not in digits:
        return int(digits, 16)
    raise ValueError("no whole number")


def load_factory(name: str) -> Callable[[str], Reader]:
    """The callable named ``package.module:function``.

    The module is loaded from its file: importing it by name would run its package's
    ``__init__``, which is the plugin and pulls in what only the host needs.
    """
    import importlib.util

    module, _, function = name.partition(":")
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"no module named '{package}'")
    if inner:
        folder = (spec.submodule_search_locations or [""])[0]
        file = os.path.join(folder, *inner) + ".py"  # noqa: PTH118  pathlib is not loaded here
        spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module file for '{module}'")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded  # dataclasses look their module up there
    spec.loader.exec_module(loaded)
    factory: Callable[[str], Reader] = getattr(loaded, function)
    return factory


class Group:
    """Sources that are read together: a file each, or one object with several items."""

    __slots__ = ("_files", "_objects", "_resting", "_slow", "due_ns", "period_ns")

    def __init__(self, period_ns: int, sources: Sequence[SourceSpec]) -> None:
        self.period_ns = period_ns
        self.due_ns = 0
        self._files: list[tuple[int, FileReader | None]] = []
        self._objects: list[tuple[Reader, list[tuple[int, int]]]] = []
        self._resting: dict[int, int] = {}  # until when, by the reader's place
        self._slow: dict[int, int] = {}  # slow reads in a row
        objects: dict[tuple[str, str], tuple[Reader, list[tuple[int, int]]]] = {}
        for source in sources:
            channel = source["channel"]
            try:
                if "path" in source:
                    reader = FileReader(source["path"], source["key"], source["columns"], source["after"])
                    self._files.append((channel, reader))
                else:
                    name = (source["factory"], source["argument"])
                    if name not in objects:
                        objects[name] = (load_factory(name[0])(name[1]), [])
                        self._objects.append(objects[name])
                    objects[name][1].append((channel, source["item"]))
            except (Exception, SystemExit) as error:
                sys.stderr.write(f"{channel}: {type(error).__name__}: {error}\n")
                self._files.append((channel, None))

    def read(self, put: Put, slow: Callable[[int, int, int], None] | None = None) -> None:
        """Read every source once; ``put(t_ns, raw, channel, own_ns)`` takes the results.

        ``slow(t_ns, took_ns, channel)`` takes what readers cost that were too slow for their period.
        They then rest for a while.
        """
        for channel, file in self._files:
            t_ns = clock_ns()
            put(t_ns, file.read() if file is not None else None, channel, None)
        for place, (reader, items) in enumerate(self._objects):
            t_ns = clock_ns()
            if slow is not None and self._resting.get(place, 0) > t_ns:
                continue
            values: Sequence[Item] | None = None
            try:
                values = reader.read()
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # a fault of the channel, the sampler goes on
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            took_ns = clock_ns() - t_ns
            for channel, item in items:
                put(t_ns, item_of(values, item), channel, own_time(values, item))
            times = self._slow.get(place, 0) + 1 if took_ns > SLOW_SHARE * self.period_ns else 0
            self._slow[place] = times
            if slow is not None and times >= SLOW_TIMES:
                self._resting[place] = t_ns + took_ns * (1 + REST_TIMES)
                slow(t_ns, took_ns, items[0][0])


def item_of(values: Sequence[Item] | None, item: int) -> int | None:
    """An item of what a reader gave; ``None`` where it gave no whole number that a record can hold.

    2.5 is none: cut off it would be a wrong count, and nobody would look for the fault in the reader.
    """
    try:
        value = None if values is None else values[item]
        return _whole(value[0] if isinstance(value, tuple) else value)
    except Exception:  # a reader may give anything
        return None


def own_time(values: Sequence[Item] | None, item: int) -> int | None:
    """The moment of which an item tells, where its reader says so."""
    try:
        value = None if values is None else values[item]
        return _whole(value[1]) if isinstance(value, tuple) else None
    except Exception:  # a reader may give anything
        return None


def _whole(value: Any) -> int | None:
    """A whole number that a record can hold."""
    whole = None if value is None or value is True or value is False else index_of(value)
    return None if whole is None or not -(1 << 63) <= whole < 1 << 63 else whole


def edge_reader(sources: Sequence[SourceSpec]) -> Callable[[], list[int | None]]:
    """A function that reads all sources now, in order: ``() -> list[int | None]``."""
    group = Group(0, sources)
    order = {source["channel"]: place for place, source in enumerate(sources)}
    count = len(sources)

    def read() -> list[int | None]:
        values: list[int | None] = [None] * count

        def put(_t_ns: int, raw: int | None, channel: int, _own_ns: int | None) -> None:
            values[order[channel]] = raw

        group.read(put)
        return values

    return read


class Writer:
    """Writes records into the ring."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.capacity = WORD.unpack_from(memory, OFFSET_CAPACITY)[0]
        self.head = 0
        self.faulty: set[int] = set()
        self.own_ns: dict[int, int] = {}

    def put(self, t_ns: int, raw: int | None, channel: int, own_ns: int | None) -> None:
        """A sample; the first failure of a channel is recorded as a fault.

        One with its own time is recorded once, under that time; it cannot lie ahead.
        """
        if raw is None or (own_ns is not None and own_ns > clock_ns()):
            if channel not in self.faulty:
                self.faulty.add(channel)
                self.record(t_ns, 0, channel, KIND_FAULT)
            return
        self.faulty.discard(channel)
        if own_ns is None:
            self.record(t_ns, raw, channel, KIND_SAMPLE)
        elif own_ns > self.own_ns.get(channel, -1):
            self.own_ns[channel] = own_ns
            self.record(own_ns, raw, channel, KIND_STAMPED)

    def slow(self, t_ns: int, took_ns: int, channel: int) -> None:
        """A read that took too long for its period."""
        self.record(t_ns, took_ns, channel, KIND_SLOW)

    def record(self, t_ns: int, raw: int, channel: int, kind: int) -> None:
        """One record; the head moves only after it is whole."""
        place = HEADER_BYTES + (self.head % self.capacity) * RECORD.size
        RECORD.pack_into(self.memory, place, t_ns, raw, channel, kind)
        self.head += 1
        WORD.pack_into(self.memory, OFFSET_HEAD, self.head)


def run(memory: mmap.mmap, groups: Sequence[Group], parent: int, wake_fd: int = 0, *, patient: bool = False) -> None:
    """Sample until told to stop or left by the ``parent``, a process id. ``patient``: no reader is too slow.

    While paused it waits for a byte from the parent (standard input): it uses no processor time,
    and the end of the parent ends it too.
    """
    writer = Writer(memory)
    word = WORD.unpack_from
    ticks = missed = rounds = 0
    epoch = -1
    WORD.pack_into(memory, OFFSET_READY, 1)
    while (control := word(memory, OFFSET_CONTROL)[0]) != STOP:
        if control == PAUSE:
            if not os.read(wake_fd, 1):
                return
            continue
        if word(memory, OFFSET_EPOCH)[0] != epoch:
            # The start, or a pause: deadlines begin anew and none counts as missed.
            epoch = word(memory, OFFSET_EPOCH)[0]
            now = clock_ns()
            for group in groups:
                group.due_ns = now
        due_ns = min(group.due_ns for group in groups)
        now = clock_ns()
        if due_ns > now:
            time.sleep((due_ns - now) / 1e9)
            now = clock_ns()
        # After the clock was read: a process that was stopped before may have been paused meanwhile.
        if word(memory, OFFSET_CONTROL)[0] == PAUSE or word(memory, OFFSET_EPOCH)[0] != epoch:
            continue
        if os.getppid() != parent:
            return
        writer.record(now, now - due_ns, NO_CHANNEL, KIND_LATENESS)
        due = [group for group in groups if group.due_ns <= now]
        for group in due:
            group.read(writer.put, None if patient else writer.slow)
            behind = (now - group.due_ns) // group.period_ns
            missed += behind
            group.due_ns += (behind + 1) * group.period_ns
        ticks += due[0] is groups[0]
        rounds += len(due) == len(groups)
        WORD.pack_into(memory, OFFSET_TICKS, ticks)
        WORD.pack_into(memory, OFFSET_MISSED, missed)
        WORD.pack_into(memory, OFFSET_ROUNDS, rounds)
        WORD.pack_into(memory, OFFSET_SERVED, clock_ns())


def main() -> None:
    """Read the job from standard input and sample.

    It comes by ``marshal``, which is part of the interpreter (the same on both sides): ``json``
    would add a tenth to the memory of this process.
    """
    job = marshal.load(sys.stdin.buffer)  # noqa: S302  from the parent, which runs this very file
    sys.path.extend(job["sys_path"])
    with open(job["ring"], "r+b") as file:  # noqa: PTH123
        memory = mmap.mmap(file.fileno(), 0)
    groups = [Group(group["period_ns"], group["sources"]) for group in job["groups"]]
    run(memory, groups, job["parent"], patient=job["patient"])


if __name__ == "__main__":
    main()
