"""The content-addressed store of models: fetched, converted and compressed.

A result is kept under the hash of (content of its source, step, parameters, tool versions). It is
made in a temporary folder and renamed when whole, so two runs at once do not harm each other and a
folder that exists is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.api import Artifact, Scalar
from joulebench.backendkit import cache_folder
from joulebench.errors import ArtifactError
from joulebench.models.making import MakingLimits, Transform, run_transform

#: The file that says what an entry of the store is; its time of change is that of the last use.
MANIFEST: Final = "artifact.json"
_CONTENT: Final = "content"
#: The file that says of which files it is known that they are what was written.
_STAMPS: Final = "stamps.json"
_LIMITS: Final = MakingLimits()
#: Folders of makers that have not finished, by prefix.
MAKING: Final = ".making-"


def hash_file(path: Path) -> str:
    """sha256 of a file, as hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def hash_content(path: Path) -> tuple[str, int]:
    """(sha256 over names and contents, size in bytes) of a file or of all files of a folder."""
    if path.is_file():
        return hash_files((path,))
    return _hashed((file.relative_to(path).as_posix(), file) for file in sorted(path.rglob("*")) if file.is_file())


def hash_files(files: Sequence[Path]) -> tuple[str, int]:
    """(sha256 over names and contents, size in bytes) of these files."""
    return _hashed((file.name, file) for file in files)


def _hashed(named: Iterable[tuple[str, Path]]) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    for name, file in named:
        digest.update(f"{name}\0{hash_file(file)}\n".encode())
        size += file.stat().st_size
    return digest.hexdigest(), size


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder, in bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact in the store, with what was observed when it was made."""

    artifact: Artifact
    evidence: Mapping[str, Scalar]
    seconds: float


class Store:
    """The store in a cache folder."""

    def __init__(self, root: Path | None = None, limits: MakingLimits = _LIMITS) -> None:
        self.root = (root or cache_folder()) / "artifacts"
        self._limits = limits
        # What this process has been given stays locked as long as it lives: it is not pruned.
        self._held: dict[Path, int] = {}

    def key(self, source: Artifact, step: Transform) -> str:
        """The name of a result: a hash of everything that determines it."""
        files = {name: hash_file(path) for name, path in step.files.items()}
        parts = {
            "source": source.content_hash,
            "format": source.format,
            "kind": step.kind,
            "step": step.name,
            "settings": dict(sorted({**step.settings, **files}.items())),
            "versions": dict(sorted(step.versions.items())),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def find(self, source: Artifact, step: Transform) -> Stored | None:
        """The result of a step if it is in the store; in use from now on."""
        return self._take(self.root / self.key(source, step))

    def _take(self, folder: Path) -> Stored | None:
        if folder not in self._held:
            try:
                lock = os.open(folder, os.O_RDONLY)
            except FileNotFoundError:
                return None
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_SH)
            self._held[folder] = lock
        try:
            # After the lock: what was pruned meanwhile is seen to be gone.
            stored = load_entry(folder)
        except FileNotFoundError:
            os.close(self._held.pop(folder))
            return None
        _check_content(folder, stored.artifact)
        with contextlib.suppress(OSError):  # a cache that is shared read-only
            os.utime(folder / MANIFEST)
        return stored

    def make(self, source: Artifact, step: Transform, say: Callable[[str], None] = lambda _: None) -> Stored:
        """The result of a step, made now unless it is in the store."""
        folder = self.root / self.key(source, step)
        stored = self._take(folder)
        if stored is not None:
            return stored
        say(f"{step.describe()}: {source.path.name}")
        self.root.mkdir(parents=True, exist_ok=True)
        sweep(self.root)
        with _workplace(self.root) as temporary:
            content = temporary / _CONTENT
            content.mkdir()
            report = run_transform(step, source, content, self._limits)
            digest, size = hash_content(content)
            manifest = {
                "format": step.target,
                "hash": digest,
                "size_bytes": size,
                "lineage": [*source.lineage, step.describe()],
                "evidence": report["evidence"],
                "seconds": report["seconds"],
            }
            (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            _write_stamps(temporary, _stamps(content))
            _publish(temporary, folder)
        made = self._take(folder)
        if made is None:
            raise ArtifactError("vanished while it was being made", where=str(folder))
        return made


def load_entry(folder: Path) -> Stored:
    """What a folder of the store holds. Raises :class:`FileNotFoundError` where it is none.

    Files of another size than when they were made are an :class:`ArtifactError`; their bytes are not
    read.
    """
    try:
        if (folder / MANIFEST).is_fifo():
            raise ValueError("its manifest is not a file")
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        _check_types(manifest)
        content = folder / _CONTENT
        if not content.is_dir():
            raise ValueError("its content is gone")
        size = folder_bytes(content)
        if size != manifest["size_bytes"]:
            raise ValueError(f"{size} bytes where {manifest['size_bytes']} were written")
        artifact = Artifact(
            format=manifest["format"],
            path=content,
            content_hash=manifest["hash"],
            size_bytes=size,
            lineage=tuple(manifest["lineage"]),
        )
        return Stored(artifact, manifest["evidence"], manifest["seconds"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, str(error)) from None


def _check_types(manifest: Mapping[str, Any]) -> None:
    """Raise ``KeyError``, ``TypeError`` or ``ValueError`` where a manifest is none of ours."""
    kinds = {"format": str, "hash": str, "size_bytes": int, "lineage": list, "evidence": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(manifest[name], kind)]
    if not wrong and not all(isinstance(step, str) for step in manifest["lineage"]):
        wrong.append("lineage")
    if isinstance(manifest["seconds"], bool) or not isinstance(manifest["seconds"], int | float):
        wrong.append("seconds")
    if wrong:
        raise ValueError(f"its manifest has another type in {', '.join(wrong)}")


def _damaged(folder: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"damaged entry in the artifact cache ({why})",
        where=str(folder),
        hint=f"'joulebench artifacts prune {folder.name}'; it is made again when needed",
    )


def _check_content(folder: Path, artifact: Artifact) -> None:
    """Raise where the files are not those that the hash is of.

    They are read at their first use on a machine, and where any of them has changed since: its size,
    time of change of content or of inode, or the inode itself.
    """
    stamps = _stamps(artifact.path)
    try:
        known = json.loads((folder / _STAMPS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        known = None
    if stamps == known:
        return
    if hash_content(artifact.path)[0] != artifact.content_hash:
        raise _damaged(folder, "its files are not what was written: another sha256")
    with contextlib.suppress(OSError):  # a cache that is shared read-only
        _write_stamps(folder, stamps)


def _stamps(content: Path) -> dict[str, list[int]]:
    """What changes with each file's content, by its name; the kernel alone sets the inode's time."""
    files = sorted(file for file in content.rglob("*") if file.is_file())
    states = {file.relative_to(content).as_posix(): file.stat() for file in files}
    return {name: [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino] for name, state in states.items()}


def _write_stamps(folder: Path, stamps: Mapping[str, list[int]]) -> None:
    temporary = folder / f".{_STAMPS}.{os.getpid()}"
    temporary.write_text(json.dumps(stamps), encoding="utf-8")
    temporary.replace(folder / _STAMPS)


@contextlib.contextmanager
def _workplace(root: Path) -> Iterator[Path]:
    """A folder to make something in, locked as long as its maker lives, and gone afterwards."""
    while True:
        temporary = Path(tempfile.mkdtemp(prefix=MAKING, dir=root))
        lock = os.open(temporary, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a file system without locks is not swept either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if temporary.is_dir():
            break
        os.close(lock)  # swept by another run before it was locked
    try:
        yield temporary
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(root: Path) -> list[Path]:
    """Remove what makers that were killed have left: their locks went with them."""
    return [folder for folder in sorted(root.glob(f"{MAKING}*")) if remove_unused(folder)]


def remove_unused(folder: Path) -> bool:
    """Remove a folder of the store unless somebody makes it or uses it; whether it is gone."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.name.startswith(MAKING):
            doomed = folder
        else:  # under another name first: an entry is whole or not there, even if this is killed
            doomed = folder.with_name(f"{MAKING}removed-{folder.name}")
            folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _publish(temporary: Path, folder: Path) -> None:
    """Give a whole result its name; a twin run that was first is as good."""
    try:
        temporary.rename(folder)
    except OSError as error:
        if not (folder / MANIFEST).is_file():
            raise ArtifactError(
                f"cannot be put in place: {error.strerror}",
                where=str(folder),
                hint="delete that folder if it exists; it is made again when needed",
            ) from None
