"""What contracts of steps on disk share: an output folder, its hash, a whole checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from joulebench.errors import JoulebenchError
from joulebench.testing.contracts.base import BrokenContractError, expect
from joulebench.testing.contracts.checkpoints import CHECKPOINT


def written(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    """A new folder below ``folder`` that ``write`` has filled with something."""
    output = folder / name
    output.mkdir()
    write(output)
    expect(
        any(file.is_file() for file in output.rglob("*")),
        "nothing was written",
        "write the result into the folder 'output', which is there and empty",
    )
    return output


def content_hash(path: Path) -> str:
    """Hash over names and contents of all files."""
    from joulebench.models.store import hash_content

    return hash_content(path)[0]


def expect_whole(path: Path, format_: str) -> None:
    """A checkpoint must be one: config.json, and safetensors that are as long as they say."""
    if format_ != CHECKPOINT:
        return
    from joulebench.checkpoint import read_config, read_header, weight_files

    try:
        read_config(path)
        for file in weight_files(path):
            read_header(file)
    except JoulebenchError as error:
        raise BrokenContractError(
            f"what was written is no whole checkpoint: {error}",
            "copy the files that are not changed (config, tokenizer) beside the weights",
        ) from None
