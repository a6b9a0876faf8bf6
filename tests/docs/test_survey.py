"""The survey's page: every row has a status, and every command can be parsed and planned."""

from __future__ import annotations

import re
import shlex

import pytest
from doc_pages import page

from joulebench.models.catalogue import read_catalogue
from joulebench.plan.loading import plan_profile
from joulebench.registry.loading import default_registry

_COMMAND = re.compile(r"`(joulebench [^`]+)`")
_STATUS = re.compile(r"runs|by shape|extrapolated|not yet")


def rows() -> list[list[str]]:
    """Cells of every row of the page's tables with a status."""
    kept: list[list[str]] = []
    header: list[str] = []
    for line in page("survey.md").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif "status" in header and len(header) > 2 and not set(line) <= set("|- "):
            kept.append([cells[header.index("status")], line])
    return kept


def commands() -> list[list[str]]:
    text = page("survey.md")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + _COMMAND.findall(text)
    return [shlex.split(line)[1:] for line in dict.fromkeys(lines)]


def test_every_row_of_the_survey_has_a_status_and_a_command_unless_it_is_not_yet() -> None:
    listed = rows()
    assert len(listed) > 70
    for status, line in listed:
        assert _STATUS.match(status), line
        assert status.startswith("not yet") or _COMMAND.search(line), line


@pytest.mark.slow
def test_its_commands_are_planned() -> None:
    planned = 0
    for words in commands():
        if words[0] in ("run", "plan") and len(words) > 1:
            overrides = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
            assert plan_profile(words[1], overrides).plan.cells, words
            planned += 1
    assert planned > 30


def test_the_models_that_it_shows_are_in_the_catalogue() -> None:
    catalogue = read_catalogue(default_registry().profile_dirs())
    shown = [words[2] for words in commands() if words[:2] == ["models", "show"] and len(words) > 2]
    assert len(shown) > 10
    assert set(shown) <= set(catalogue.published)


@pytest.mark.parametrize("name", ["runs", "by shape", "extrapolated", "not yet"])
def test_what_a_status_means_is_said(name: str) -> None:
    assert re.search(rf"^\| {name} \|", page("survey.md"), re.MULTILINE)
