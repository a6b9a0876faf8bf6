"""Models of the Hugging Face hub on this machine: where they lie already, and how they are fetched.

Looking needs no network. joulebench's own cache is looked at first, then the one that the hub's
clients share (``HF_HUB_CACHE``).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.backendkit import cache_folder
from joulebench.checkpoint import PICKLE_SUFFIXES, read_config, weight_files
from joulebench.errors import ModelError, UnavailableError

#: How the hub names a model: ORG/NAME.
NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")
#: A commit, branch or tag; it becomes a part of a folder's name.
_REVISION: Final = re.compile(r"\w[\w.-]*")
#: A file below the model's root.
_FILE: Final = re.compile(r"(?:[\w+-][\w.+-]*/)*[\w+-][\w.+-]*\.\w+")
#: The end of a part's name, of a model in several files.
_PART: Final = re.compile(r"-\d{5}-of-(\d{5})(\.\w+)$")
#: What lies beside a model's file that does not hold all of the model: configuration, tokenizer, weights.
_BESIDE: Final = ("config.json", "*_config.json", "tokenizer*", "*.jinja")
_CONFIG_FILES: Final = ("config.json",)
#: Other models, and copies of this one in another layout.
_NOT_OF_CHECKPOINTS: Final = ("*/*", "consolidated*.safetensors")
_CHECKPOINT_FILES: Final = ("*.safetensors", "*.json", "tokenizer*", "*.jinja", "*.txt", "*.model")
#: What the hub's client raises, by the name of the class, and what to do about it.
_CURES: Final = {
    "GatedRepoError": "accept its terms on the hub, then 'hf auth login' or set HF_TOKEN",
    "RepositoryNotFoundError": "check the name; for a private model 'hf auth login' or set HF_TOKEN",
    "RevisionNotFoundError": "check the revision: 'joulebench models pin ORG/NAME' gives the commit of today",
}
_SCRIPT: Final = """
import json, sys
from huggingface_hub import snapshot_download
job = json.load(sys.stdin)
try:
    snapshot_download(
        job["name"],
        revision=job["revision"],
        local_dir=job["to"],
        allow_patterns=job["files"],
        ignore_patterns=job["without"],
    )
except Exception as error:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    print(json.dumps({"kinds": kinds, "message": str(error).strip()}))
    sys.exit(1)
"""


@dataclass(frozen=True, slots=True)
class HubModel:
    """``hf:ORG/NAME@REVISION``, a checkpoint, or ``hf:ORG/NAME@REVISION:FILE``, one file as it is."""

    name: str
    revision: str
    file: str | None = None

    @classmethod
    def parse(cls, source: str) -> HubModel:
        """Raises :class:`ModelError` where it is none."""
        name, at, rest = source.removeprefix("hf:").partition("@")
        revision, colon, file = rest.partition(":")
        if not (NAME.fullmatch(name) and at and _REVISION.fullmatch(revision)):
            raise ModelError(
                "must be hf:ORG/NAME@REVISION or hf:ORG/NAME@REVISION:FILE",
                where=source,
                hint="pin the revision (a commit): 'joulebench models pin ORG/NAME' gives it",
            )
        if colon and (not _FILE.fullmatch(file) or Path(file).suffix in PICKLE_SUFFIXES):
            raise ModelError(
                f"'{file}' is no file that is run as it is",
                where=source,
                hint="name a model's file, or leave it out for the checkpoint in safetensors",
            )
        return cls(name, revision, file or None)

    @property
    def path(self) -> Path | None:
        """Where the whole of it lies on this machine; ``None`` where it does not."""
        return next((path for folder in self._folders() if (path := self._whole(folder)) is not None), None)

    def fetched(self, say: Callable[[str], None]) -> Path:
        """Where it lies, fetched from the hub if it is not here.

        Raises :class:`ModelError` and :class:`UnavailableError`.
        """
        path = self.path
        return self._fetch(say) if path is None else path

    # -- looking -------------------------------------------------------------------------------

    @property
    def _label(self) -> str:
        return f"{self.name}@{self.revision}" + (f":{self.file}" if self.file else "")

    @property
    def _own(self) -> Path:
        return cache_folder() / "hub" / self._label.replace("/", "--")

    def _folders(self) -> Iterator[Path]:
        yield self._own
        shared = _shared_cache() / f"models--{self.name.replace('/', '--')}"
        yield shared / "snapshots" / self.revision
        with contextlib.suppress(OSError, ValueError):  # a branch or tag, as it was when it was fetched
            commit = (shared / "refs" / self.revision).read_text(encoding="ascii").strip()
            if _REVISION.fullmatch(commit):
                yield shared / "snapshots" / commit

    def _whole(self, folder: Path) -> Path | None:
        """The model in a folder, if all of its files are there."""
        if self.file is None:
            try:
                return folder if (folder / "config.json").is_file() and weight_files(folder) else None
            except (ModelError, OSError):
                return None
        files = [folder / name for name in _parts(self.file)]
        return files[0] if all(file.is_file() for file in files) else None

    # -- fetching ------------------------------------------------------------------------------

    def _fetch(self, say: Callable[[str], None]) -> Path:
        if importlib.util.find_spec("huggingface_hub") is None:
            raise UnavailableError("fetching from a hub needs huggingface_hub", hint="pip install huggingface_hub")
        say(f"fetching {self._label} from the hub")
        final = self._own
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=final.parent))
        try:
            if self.file is None:
                self._download(temporary, _CONFIG_FILES)
                self._check_config(temporary)
                self._download(temporary, _CHECKPOINT_FILES, _NOT_OF_CHECKPOINTS)
            else:
                self._download(temporary, (*_parts(self.file), f"{self.file}[._]*", *_BESIDE))
            if self._whole(temporary) is None:
                raise self._missing(temporary)
            shutil.rmtree(temporary / ".cache", ignore_errors=True)
            if final.exists() and self._whole(final) is None:  # left by another version, or damaged
                shutil.rmtree(final, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run was first
                temporary.rename(final)
            path = self._whole(final)
            if path is None:
                raise ModelError("cannot be put in place", where=str(final))
            return path
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _check_config(self, folder: Path) -> None:
        """Refuse what would be refused anyway, such as code of the checkpoint's own, before its weights are fetched."""
        if not (folder / _CONFIG_FILES[0]).is_file():
            raise self._missing(folder)
        try:
            read_config(folder)
        except ModelError as error:
            raise ModelError(f"its config.json {error.what}", where=f"hf:{self._label}", hint=error.hint) from None

    def _download(self, folder: Path, files: Sequence[str], without: Sequence[str] = ()) -> None:
        job = {
            "name": self.name,
            "revision": self.revision,
            "to": str(folder),
            "files": list(files),
            "without": list(without),
        }
        done = subprocess.run(
            [sys.executable, "-P", "-c", _SCRIPT], input=json.dumps(job), capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        lines = done.stderr.strip().splitlines() or ["no message"]
        try:
            told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            told = {"kinds": [], "message": lines[-1]}
        cure = next((_CURES[kind] for kind in told["kinds"] if kind in _CURES), None)
        message = next((line for line in str(told["message"]).splitlines() if line.strip()), "no message")
        raise UnavailableError(
            f"the hub did not give it: {message}",
            where=f"hf:{self._label}",
            hint=cure or "check the name, the revision and the connection; or use path:DIR",
        )

    def _missing(self, folder: Path) -> ModelError:
        where = f"hf:{self._label}"
        if self.file is not None:
            return ModelError("the hub's model has no such file", where=where, hint="look at its files on the hub")
        if not (folder / _CONFIG_FILES[0]).is_file():
            hint = "take a checkpoint for transformers, or name one of its files: hf:ORG/NAME@REVISION:FILE"
            return ModelError("the hub's model has no config.json", where=where, hint=hint)
        try:
            weight_files(folder)
        except ModelError as error:
            return ModelError(f"the hub's model {error.what}", where=where, hint=error.hint)
        return ModelError("the hub's model is not whole", where=where, hint="fetch it again")


def _parts(file: str) -> list[str]:
    """The files of a model of which ``file`` is one; the first part first."""
    match = _PART.search(file)
    if match is None:
        return [file]
    count = int(match[1])
    stem = file[: match.start()]
    return [f"{stem}-{number:05d}-of-{count:05d}{match[2]}" for number in range(1, count + 1)]


def _shared_cache() -> Path:
    """The cache of the hub's clients (huggingface_hub, ``constants.py``)."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(variable):
            return Path(value).expanduser()
    return _shared_home() / "hub"


def _shared_home() -> Path:
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface"


def hub_token() -> str | None:
    """The user's token, from where the hub's clients look for it: ``HF_TOKEN``, or the file of ``hf auth login``."""
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    named = os.environ.get("HF_TOKEN_PATH")
    file = Path(named).expanduser() if named else _shared_home() / "token"
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None
