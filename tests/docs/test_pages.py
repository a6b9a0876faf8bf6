"""Links lead somewhere, and the pages hold nothing of the machine that they were written on."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from doc_pages import DOCS, ROOT, all_pages, anchors, prose

_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
#: Folders of somebody's machine. System folders that every Linux has are meant.
_PRIVATE: Final = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users|mnt|opt|srv)/[\w.-]+")
_HOSTS: Final = re.compile(r"\b(?:localhost|127\.0\.0\.1|[\w.-]+\.(?:internal|local|lan|corp))\b")
_INDEX: Final = re.compile(r"--(?:extra-)?index-url|PIP_INDEX_URL|https?://[\w.:-]+/simple")


@pytest.mark.parametrize("file", all_pages(), ids=lambda file: file.name)
def test_links_inside_the_repository_lead_to_a_file_and_a_heading(file: Path) -> None:
    for target in _LINK.findall(prose(file.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (file.parent / name).resolve() if name else file
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("file", all_pages(), ids=lambda file: file.name)
def test_paths_of_the_repository_that_are_named_exist(file: Path) -> None:
    named = re.findall(
        r"`((?:core|plugins|profiles|reports|tests|docs|bench)/[\w./-]+)`", prose(file.read_text(encoding="utf-8"))
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("file", [*all_pages(), ROOT / "CHANGELOG.md"], ids=lambda file: file.name)
def test_no_page_names_a_private_path_or_host(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for pattern in (_PRIVATE, _HOSTS, _INDEX):
        assert pattern.findall(text) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {f"docs/{path.name}" for path in DOCS.glob("*.md")} <= set(_LINK.findall(readme))


def test_every_page_has_one_place_in_the_site_s_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    placed = re.findall(r"^ +- ([\w-]+\.md)$", navigation, re.MULTILINE)
    # README.md and CHANGELOG.md have other names there.
    assert sorted(placed) == sorted([*(page.name for page in DOCS.glob("*.md")), "index.md", "changelog.md"])


def test_the_readme_names_every_extra_that_users_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    extras = set(project["optional-dependencies"]) - {"test", "lint", "docs"}
    assert {extra for extra in extras if f"`{extra}`" in readme} == extras


def test_an_extra_that_a_page_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for file in all_pages():
        for names in re.findall(r"joulebench\[([\w,]+)\]", file.read_text(encoding="utf-8")):
            assert set(names.split(",")) <= set(project["optional-dependencies"]), file.name


def test_every_module_that_the_page_of_data_flow_names_exists_and_no_journey_is_longer_than_a_dozen_stations() -> None:
    text = (DOCS / "data-flow.md").read_text(encoding="utf-8")
    modules = re.findall(r"`(joulebench[\w.]*\.[\w.]+)`", text)
    assert len(modules) > 20
    for module in modules:
        assert importlib.util.find_spec(module) is not None, module
    journeys = text.split("\n## ")[1:]
    assert len(journeys) == 3
    for journey in journeys:
        assert 1 < len(re.findall(r"^\d+\. ", journey, re.MULTILINE)) <= 12
