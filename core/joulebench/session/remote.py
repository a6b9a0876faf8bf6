"""A session that lies elsewhere (``s3://…``, ``gs://…``, ``memory://…``), read as it is.

pyarrow has file systems of its own for the large clouds; the others come through fsspec. Nothing
is written there, and only what a report asks for is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc

from joulebench.errors import SessionError, UnavailableError
from joulebench.session.files import PART, SESSION_FILE, check_version, decode_sealed, scan_file, unreadable
from joulebench.session.reader import Session, StoredTable
from joulebench.session.schema import CELL_TABLES

_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
#: Who asks with a password in the address must not find it in a report.
_SECRET: Final = re.compile(r"(?<=://)[^/@]*@")


def is_uri(place: str) -> bool:
    """Whether a place is an address and no path: it has a scheme of two letters or more."""
    return _URI.match(place) is not None


def without_secret(uri: str) -> str:
    """An address to be shown: without user name and password, and without its query."""
    return _SECRET.sub("", uri).partition("?")[0]


def file_system(uri: str) -> tuple[Any, str]:
    """pyarrow's file system of an address, and the path in it."""
    from pyarrow import fs

    shown = without_secret(uri)
    try:
        system, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError, TypeError):
        return _by_fsspec(uri, shown)
    return system, path


def _by_fsspec(uri: str, shown: str) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        import fsspec
    except ImportError:
        raise UnavailableError(
            "this kind of address needs fsspec", where=shown, hint="pip install 'joulebench[cloud]'"
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        # An unknown scheme, or one whose own package is missing; fsspec names it.
        raise UnavailableError(f"cannot be reached: {error}", where=shown) from None
    return fs.PyFileSystem(fs.FSSpecHandler(system)), str(path)


def listed(system: Any, folder: str, shown: str) -> list[Any]:
    """Entries of a folder (pyarrow's ``FileInfo``), by name; empty where there is none."""
    from pyarrow import fs

    try:
        selector = fs.FileSelector(folder, recursive=False, allow_not_found=True)
        return sorted(system.get_file_info(selector), key=lambda info: str(info.path))
    except (OSError, pa.ArrowException) as error:
        raise SessionError(f"cannot be listed: {error}", where=shown) from None


def is_folder(info: Any) -> bool:
    """Whether an entry is a folder with a plain name."""
    from pyarrow import fs

    return bool(info.type == fs.FileType.Directory) and _is_plain(str(info.base_name))


def is_file(info: Any) -> bool:
    """Whether an entry is a file."""
    from pyarrow import fs

    return bool(info.type == fs.FileType.File)


def _is_plain(name: str) -> bool:
    """A name that leads nowhere else."""
    return bool(name) and name not in (".", "..") and "/" not in name and "\\" not in name


class RemoteSession(Session):
    """A session in a folder of a file system. ``path`` is for messages and its last part alone."""

    def __init__(self, system: Any, folder: str, shown: str) -> None:
        self._system = system
        self._folder = folder.rstrip("/")
        self._shown = shown.rstrip("/")
        self.path = Path(PurePosixPath(self._folder).name or "session")
        where = f"{self._shown}/{SESSION_FILE}"
        stored = self._read(f"{self._folder}/{SESSION_FILE}", where)
        if stored is None:
            raise SessionError("this is not a joulebench session: it has no session.arrow", where=self._shown)
        table = decode_sealed(stored.content, where)
        check_version(table, where)
        self._take(table, where)

    def _read(self, path: str, where: str) -> StoredTable | None:
        """The bytes of an Arrow file, or of a stream as far as it goes; ``None`` where there is none."""
        try:
            with self._system.open_input_file(path) as source:
                return StoredTable(source.read_buffer(), where, is_final=not path.endswith(PART))
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise unreadable(error, where) from None

    def _cell_folders(self) -> set[str]:
        entries = listed(self._system, f"{self._folder}/cells", self._shown)
        return {str(info.base_name) for info in entries if is_folder(info)}

    def _stored(self, cell_id: str, name: str) -> StoredTable | None:
        if not _is_plain(cell_id):
            return None
        for suffix in ("arrow", f"arrow{PART}"):
            inside = f"cells/{cell_id}/{name}.{suffix}"
            stored = self._read(f"{self._folder}/{inside}", f"{self._shown}/{inside}")
            if stored is not None:
                return stored
        return None

    def scan(self, name: str, cell_id: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of a cell's table, batch by batch; only they are fetched, where that can be.

        What is not fetched cannot be hashed: this alone holds nothing against a checksum.
        """
        inside = f"cells/{cell_id}/{name}.arrow"
        if not _is_plain(cell_id):
            return
        try:
            source = self._system.open_input_file(f"{self._folder}/{inside}")
        except FileNotFoundError:
            yield from self.table(name, cell_id).select(list(columns)).to_batches()
            return
        with source:
            yield from scan_file(source, columns, CELL_TABLES[name], f"{self._shown}/{inside}")
