"""Faults of a fake powercap tree: before it is opened, in the middle of a window, and in how it goes on."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from joulebench.testing.livefiles import ticking
from joulebench.testing.powercap import FakePowercap

#: The zone with the fault.
ZONE = "intel-rapl:0"
NO_NUMBERS = (
    b"",
    b"\n",
    b"abc\n",
    b"1e9\n",
    b"nan\n",
    b"12 34\n",
    b"\0\0\0\0",
    b"-5\n",
    b"0x\n",
    b"9" * 60,
    b"\xff\xfe",
    b"1_000",
)
HUGE = (b"9223372036854775807\n", b"9223372036854775808\n", b"18446744073709551615\n", b"9" * 30 + b"\n")

POWERCAP_FAULTS = (
    *(
        "none",
        "none",
        "slow",
        "bursts",
        "jitter",
        "wraps",
        "range",
        "text",
        "name",
        "fifo",
        "folder",
        "missing",
        "loop",
    ),
    *("denied", "gone", "another", "denied-later", "emptied", "frozen", "garbage", "huge", "reset", "backwards"),
    *("jump", "flicker"),
)


def spoil_before(energy: Path, fault: str, rng: random.Random) -> None:
    """A fault that is there before the meter opens."""
    folder = energy.parent
    if fault == "range":
        (folder / "max_energy_range_uj").write_bytes(rng.choice((*NO_NUMBERS, *HUGE, b"0\n", b"-1\n")))
    elif fault == "text":
        energy.write_bytes(rng.choice((*NO_NUMBERS, *HUGE)))
    elif fault == "name":
        (folder / "name").write_bytes(
            rng.choice((b"", b"\x1b[2J\n", b"x" * 5000, b"\xff\xfe", b"package-0\npackage-1"))
        )
    elif fault in ("fifo", "folder", "missing", "loop", "denied"):
        energy.unlink()
        if fault == "fifo":
            os.mkfifo(energy)
        elif fault == "folder":
            energy.mkdir()
        elif fault == "loop":
            energy.symlink_to(energy.name)
        elif fault == "denied":
            energy.write_text("5\n")
            energy.chmod(0)


def spoil_during(energy: Path, fault: str, rng: random.Random) -> None:
    """A fault that comes in the middle of a window; the ticking process writes on where the file stays."""
    if fault == "gone":
        energy.unlink()
    elif fault == "another":
        energy.unlink()
        energy.write_text("7\n")
    elif fault == "denied-later":
        energy.chmod(0)
    elif fault == "emptied":
        os.truncate(energy, 0)


def advancing(tree: FakePowercap, fault: str, at_s: float, rng: random.Random) -> Callable[[float], None]:
    """How the tree goes on in its own process, the fault beginning after ``at_s``."""
    energy = tree.energy_file(ZONE)
    handle = os.open(energy, os.O_RDWR) if energy.is_file() and os.access(energy, os.W_OK) else -1
    text = rng.choice(HUGE if fault == "huge" else NO_NUMBERS)
    passed = 0.0
    restarted: float | None = None
    back = random.Random(rng.random())

    def put(data: bytes) -> None:
        os.pwrite(handle, data.ljust(24, b"\n"), 0)

    def advance(seconds: float) -> None:
        nonlocal passed, restarted
        passed += seconds
        if passed < at_s or fault not in ("frozen", "garbage", "huge", "reset", "backwards", "jump", "flicker"):
            tree.advance(seconds)
            return
        if fault == "frozen":
            return
        tree.advance(seconds)
        shown = tree.zones[0].shown_uj(tree.joules(ZONE))
        if fault in ("garbage", "huge"):
            put(text)
        elif fault == "flicker":
            put(text if back.random() < 0.3 else str(shown).encode())
        elif fault == "reset":
            restarted = tree.joules(ZONE) if restarted is None else restarted
            put(str(int(1e6 * (tree.joules(ZONE) - restarted))).encode())
        elif fault == "backwards":
            put(str(max(0, shown - back.randrange(10**6, 10**8))).encode())
        elif fault == "jump":
            put(str((shown + 10**11) % tree.zones[0].max_range_uj).encode())

    return advance


@contextlib.contextmanager
def jittered(advance: Callable[[float], None], period_s: float, rng: random.Random) -> Iterator[None]:
    """Updates that come at irregular times, some left out."""
    source = random.Random(rng.random())
    waiting = 0.0

    def irregular(seconds: float) -> None:
        nonlocal waiting
        waiting += seconds
        if source.random() < 0.4:
            advance(waiting)
            waiting = 0.0

    with ticking(irregular, period_s):
        yield
