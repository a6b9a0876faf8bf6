"""Command lines on the pages have the options that their commands have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import click
import pytest
from doc_pages import all_pages, prose

_SHELL: Final = re.compile(r"^```sh[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`(joulebench [^`]+)`")
#: What ends a command within a line of shell.
_ENDS: Final = {"|", "||", "&&", ">", ";", "&"}


def _command_lines(file: Path) -> Iterator[list[str]]:
    """Words behind ``joulebench`` of every command line on a page."""
    text = file.read_text(encoding="utf-8")
    lines = [line for block in _SHELL.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(entry.split()) for entry in _INLINE.findall(prose(text))]
    for line in lines:
        if "joulebench " not in line:
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            pytest.fail(f"{file.name}: a quote is not closed: {line}")
        for start in [place for place, word in enumerate(words) if word == "joulebench"]:
            yield list(_until_an_end(words[start + 1 :]))


def _until_an_end(words: list[str]) -> Iterator[str]:
    for word in words:
        if word in _ENDS or word == "--":
            return
        yield word


def _command(words: list[str], commands: dict[str, click.Command]) -> tuple[str, click.Command] | None:
    """The command that the first words name, the longest name first."""
    for length in (2, 1):
        name = " ".join(["joulebench", *words[:length]])
        if len(words) >= length and name in commands:
            return name, commands[name]
    return None


@pytest.mark.parametrize("file", all_pages(), ids=lambda file: file.name)
def test_options_of_command_lines_are_those_of_their_commands(file: Path, reference: ModuleType) -> None:
    commands = dict(reference.commands())
    for words in _command_lines(file):
        known = _command(words, commands)
        if known is None:
            assert not words or words[0].startswith("-"), f"{file.name}: joulebench {' '.join(words)}"
            continue
        name, command = known
        options = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in options | {"--help", "-h"}, f"{file.name}: {name} {word}"


def test_command_lines_are_found_in_blocks_and_in_sentences(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Say `joulebench plan\nquick`.\n\n```sh\njoulebench report a -o b  # c\nx && joulebench doctor\n```\n"
    )
    assert list(_command_lines(page)) == [["report", "a", "-o", "b"], ["doctor"], ["plan", "quick"]]
