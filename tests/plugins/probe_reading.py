"""Reads a probe's channels as the meter does at a window's edges."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence

from joulebench.api import Channel, Option, OptionValue
from joulebench.meter.live.channels import source_spec
from joulebench.meter.live.sampler import edge_reader


def settings(options: Sequence[Option], **given: OptionValue) -> dict[str, OptionValue]:
    """Defaults with the given values, as a profile's settings arrive."""
    values = {option.name: option.default for option in options if option.default is not None}
    unknown = set(given) - {option.name for option in options}
    assert not unknown, unknown
    return {**values, **given}


def read(channels: Sequence[Channel], pid: int | None = None) -> dict[str, int | None]:
    """The raw value of every channel now, by path."""
    reader = edge_reader([source_spec(place, c.source, pid) for place, c in enumerate(channels)])
    return dict(zip((channel.path for channel in channels), reader(), strict=True))


def imported_alone(module: str) -> set[str]:
    """What a reader module imports by itself, without its package, beyond an idle interpreter."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    code = (
        "import sys, importlib.util as u\n"
        "spec = u.spec_from_file_location('reader', sys.argv[1])\n"
        "module = u.module_from_spec(spec)\n"
        "sys.modules['reader'] = module; spec.loader.exec_module(module)\n"
        "print(*(n for n in sys.modules if n.split('.')[0] not in sys.stdlib_module_names))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, spec.origin]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split()) - {"reader", "__main__"}
