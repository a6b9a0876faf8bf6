"""The pages build as a site without a broken link, and no page of it asks another site for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import DOCS, ROOT, anchors


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'joulebench[docs]'")
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install 'joulebench[docs]'")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # Strict: a link or an anchor that leads nowhere, and a page that the navigation lacks, end the build.
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_the_site_and_the_readme_is_its_first(site: Path) -> None:
    pages = {page.name for page in site.glob("*.html")}
    assert pages >= {f"{page.stem}.html" for page in DOCS.glob("*.md")} | {"index.html", "changelog.html"}
    assert "needs the least energy" in (site / "index.html").read_text(encoding="utf-8")


def test_a_heading_has_the_anchor_that_links_on_the_pages_go_by(site: Path) -> None:
    page = (site / "measurement.html").read_text(encoding="utf-8")
    assert anchors((DOCS / "measurement.md").read_text(encoding="utf-8")) <= set(re.findall(r'\bid="([^"]+)"', page))


def test_fences_with_words_behind_their_language_are_code(site: Path) -> None:
    page = (site / "cookbook.html").read_text(encoding="utf-8")
    assert page.count('class="highlight"') >= 10
    assert "```" not in page


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)\b[^>]*\bsrc="?([^"\s>]+)', text)
        loaded += re.findall(r'<link\b[^>]*\brel="?(?:stylesheet|icon|preconnect)"?[^>]*\bhref="?([^"\s>]+)', text)
        loaded += re.findall(r'<link\b[^>]*\bhref="?([^"\s>]+)"?[^>]*\brel="?(?:stylesheet|icon|preconnect)', text)
        assert loaded
        assert [address for address in loaded if re.match(r"(?:[a-z]+:)?//", address)] == [], page.name
