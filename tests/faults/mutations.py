"""Seeded mutations of a session's files, and what its readers say of each."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import progress

from joulebench.errors import JoulebenchError
from joulebench.registry.loading import default_registry
from joulebench.session.places import open_session
from joulebench.session.upkeep import verify

#: Longer than any report of a small session takes on a busy machine.
_HANG_S = 60
#: Reports whose figures are compared: the first of each mutation, the others in turn.
REPORTS = ("json", "csv", "markdown")

Mutation = Callable[[Path, random.Random], str]


class HangError(Exception):
    """A reader that did not come back."""


def _files(session: Path) -> list[Path]:
    return sorted(file for file in session.rglob("*.arrow") if file.is_file())


def _cells(session: Path) -> list[Path]:
    return sorted((session / "cells").iterdir())


def flip_bit(session: Path, rng: random.Random) -> str:
    """One bit of one file."""
    file = rng.choice(_files(session))
    content = bytearray(file.read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    return f"bit of {file.name} at {place}"


def set_bytes(session: Path, rng: random.Random) -> str:
    """Some bytes of one file, as a bad sector leaves them."""
    file = rng.choice(_files(session))
    content = bytearray(file.read_bytes())
    place, length = rng.randrange(len(content)), rng.choice((1, 8, 64, 512))
    content[place : place + length] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    file.write_bytes(content)
    return f"{length} bytes of {file.name} at {place}"


def truncate(session: Path, rng: random.Random) -> str:
    """The end of one file."""
    file = rng.choice(_files(session))
    size = rng.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"{file.name} cut at {size}"


def append(session: Path, rng: random.Random) -> str:
    """Something behind the end of one file."""
    file = rng.choice(_files(session))
    with file.open("ab") as sink:
        sink.write(rng.randbytes(rng.randrange(1, 5000)))
    return f"{file.name} longer"


def swap_tables(session: Path, rng: random.Random) -> str:
    """The same table of two cells."""
    one, other = rng.sample(_cells(session), 2)
    name = rng.choice(sorted({file.name for file in one.iterdir()} & {file.name for file in other.iterdir()}))
    kept = (one / name).read_bytes()
    (one / name).write_bytes((other / name).read_bytes())
    (other / name).write_bytes(kept)
    return f"{name} of {one.name} and {other.name} swapped"


def copy_table(session: Path, rng: random.Random) -> str:
    """A cell's table over another cell's."""
    one, other = rng.sample(_cells(session), 2)
    name = rng.choice(sorted(file.name for file in one.iterdir()))
    shutil.copyfile(one / name, other / name)
    return f"{name} of {one.name} over {other.name}"


def mistake_table(session: Path, rng: random.Random) -> str:
    """A table under another table's name."""
    cell = rng.choice(_cells(session))
    one, other = rng.sample(sorted(cell.iterdir()), 2)
    shutil.copyfile(one, other)
    return f"{one.name} over {other.name}"


def swap_folders(session: Path, rng: random.Random) -> str:
    """Two cells' folders."""
    one, other = rng.sample(_cells(session), 2)
    aside = session / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return f"{one.name} and {other.name} swapped"


def copy_folder(session: Path, rng: random.Random) -> str:
    """A cell's folder under another name, or over another cell's."""
    one, other = rng.sample(_cells(session), 2)
    target = other if rng.random() < 0.5 else session / "cells" / f"{one.name}-2"
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(one, target)
    return f"{one.name} copied to {target.name}"


def remove(session: Path, rng: random.Random) -> str:
    """One file, or one cell's folder."""
    if rng.random() < 0.3:
        cell = rng.choice(_cells(session))
        shutil.rmtree(cell)
        return f"{cell.name} removed"
    file = rng.choice(_files(session))
    file.unlink()
    return f"{file.name} removed"


def replace_kind(session: Path, rng: random.Random) -> str:
    """A FIFO, a link, an empty folder or an empty file in place of a file, or a stream beside it."""
    file = rng.choice(_files(session))
    kind = rng.choice(("fifo", "fifo.part", "link", "folder", "empty", "part"))
    content = file.read_bytes()
    file.unlink()
    part = file.with_name(f"{file.name}.part")
    if kind.startswith("fifo"):
        os.mkfifo(part if kind == "fifo.part" else file)
    elif kind == "link":
        outside = session.parent / f"outside-{file.name}"
        outside.write_bytes(content)
        file.symlink_to(outside)
    elif kind == "folder":
        file.mkdir()
    else:
        (part if kind == "part" else file).write_bytes(b"")
    return f"{kind} in place of {file.name}"


#: Each with its weight: what a disk does is as frequent as what a person does.
MUTATIONS: dict[Mutation, int] = {
    flip_bit: 35,
    set_bytes: 15,
    truncate: 8,
    append: 5,
    swap_tables: 7,
    copy_table: 6,
    mistake_table: 5,
    swap_folders: 4,
    copy_folder: 5,
    remove: 5,
    replace_kind: 5,
}


@contextmanager
def _limit() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(_HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def shown(session: Path, names: Sequence[str] = REPORTS) -> dict[str, str]:
    """Reports of a session, as a user sees them."""
    registry = default_registry()
    opened = open_session(str(session))
    texts: dict[str, str] = {}
    for name in names:
        renderer = registry.renderer(name)
        content = renderer.render(opened, renderer.default_settings())
        texts[name] = content if isinstance(content, str) else content.decode()
    return texts


def mutate(pristine: Path, folder: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Mutate a session so often, each time from the pristine one; counts, and what went wrong.

    ``unchanged`` shows the same figures, ``said`` ends with a joulebench error, ``unseen`` shows
    other figures without a word, ``unverified`` is said by the report and not by ``verify``,
    ``traceback`` raises anything else, ``hang`` does not come back.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter(unchanged=0, said=0, unseen=0, unverified=0, traceback=0, hang=0)
    wrong: list[str] = []
    session = folder / "session"
    shutil.copytree(pristine, session)
    truth = shown(session)
    assert json.loads(truth["json"])
    for number in range(count):
        shutil.rmtree(session)
        shutil.copytree(pristine, session)
        mutation = rng.choices(list(MUTATIONS), list(MUTATIONS.values()))[0]
        what = mutation(session, rng)
        outcome, detail = _outcome(session, truth, (REPORTS[0], REPORTS[1 + number % 2]))
        counts[outcome] += 1
        if outcome not in ("unchanged", "said"):
            wrong.append(f"{number}: {what}: {outcome}: {detail}")
        progress.show("mutations", number + 1, count, counts)
    shutil.rmtree(session)
    return counts, wrong


def _outcome(session: Path, truth: dict[str, str], names: Sequence[str]) -> tuple[str, str]:
    try:
        with _limit():
            faults, refused = _verified(session)
            try:
                texts = shown(session, names)
            except JoulebenchError as error:
                return ("said", "") if faults or refused else ("unverified", str(error))
    except HangError:
        return "hang", ""
    except Exception as error:  # what a user would see as a traceback
        return "traceback", f"{type(error).__name__}: {error}"
    different = [name for name in names if texts[name] != truth[name]]
    return ("unseen", ", ".join(different)) if different else ("unchanged", "")


def _verified(session: Path) -> tuple[int, bool]:
    """(faults that ``verify`` lists, whether it refuses the session altogether)."""
    try:
        return len(verify(session)), False
    except JoulebenchError:
        return 0, True
