from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import make_session
import pytest

from joulebench.session import Session
from joulebench_reports.joining import alone
from joulebench_reports.markup import data_block, h, render
from joulebench_reports.page import NO_CHARTS, HtmlRenderer, build_page
from joulebench_reports.summary import summarise

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_runtime = pytest.mark.skipif(
    importlib.util.find_spec("vl_convert") is None, reason="joulebench[html] is not installed"
)


def bare_page(session: Session) -> str:
    """The page without charts."""
    summary = summarise(session)
    return build_page(summary, alone(session, summary), None)


def test_text_and_attributes_are_escaped_by_construction() -> None:
    element = h("p", make_session.HOSTILE, title=make_session.HOSTILE)
    assert render(element).count("<") == 2
    assert "<img" not in render(element)


@pytest.mark.parametrize("name", ["onclick", "href", "src", "x y"])
def test_attributes_that_could_act_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="attribute"):
        h("p", **{name: "x"})


def test_embedded_data_cannot_end_its_element() -> None:
    markup = render(data_block("d", {"text": make_session.HOSTILE}))
    inner = markup.removeprefix('<script type="application/json" id="d">').removesuffix("</script>")
    assert not set(inner) & set("<>&\u2028")


class Tags(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_strangers_text_makes_no_element(hostile_session: Session) -> None:
    parser = Tags()
    parser.feed(bare_page(hostile_session))
    assert not [tag for tag, _ in parser.found if tag in ("img", "iframe", "link", "object")]
    assert not [a for _, attrs in parser.found for a in attrs if a.startswith("on")]


def test_without_the_runtime_the_page_has_tables_and_says_how_to_get_charts(
    session: Session,
) -> None:
    page = bare_page(session)
    assert "joulebench[html]" in NO_CHARTS
    assert page.count("pip install &#x27;joulebench[html]&#x27;") == 2
    assert "Data of this chart" in page
    assert "data-chart=" not in page


def test_a_chart_never_mixes_provenances(tmp_path: Path) -> None:
    both = make_session.Cell("a", "a", energies={"estimated": 2.0, "measured": 1.0})
    session = Session(make_session.write(tmp_path / "s", [both]))
    page = bare_page(session)
    titles = re.findall(r"<figcaption>([^<]*)", page)
    assert [t.strip() for t in titles if "J/token" in t] == [
        "Energy per unit of work, J/token – measured",
        "Energy per unit of work, J/token – estimated",
    ]


@pytest.fixture
def browser() -> Iterator[Any]:
    """A real Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened, with what it said and asked for."""

    def __init__(self, browser: Any, file: Path, scheme: str = "light") -> None:
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_context(color_scheme=scheme).new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_function("document.documentElement.dataset.drawn === 'yes'")


def written(session: Session, tmp_path: Path) -> Path:
    file = tmp_path / "page.html"
    page = HtmlRenderer().render(session, {})
    file.write_text(page, encoding="utf-8")
    return file


@needs_runtime
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_its_charts_offline_and_without_complaint(
    browser: Any, session: Session, tmp_path: Path, scheme: str
) -> None:
    file = written(session, tmp_path)
    visit = Visit(browser, file, scheme)
    charts = visit.page.locator(".chart")
    # Energy, decode and prefill speed, energy by phase, quality against cost, the timeline.
    assert charts.count() == 6
    for index in range(charts.count()):
        assert charts.nth(index).locator("svg").count() >= 1
    assert visit.page.locator("#timeline-chart svg path").count() > 3
    assert visit.said == []
    assert visit.requests == [file.as_uri()]


@needs_runtime
def test_a_strangers_text_is_inert_in_the_browser(
    browser: Any, hostile_session: Session, tmp_path: Path
) -> None:
    file = written(hostile_session, tmp_path)
    visit = Visit(browser, file)
    assert visit.page.evaluate("window.pwned") is None
    assert visit.page.locator("img").count() == 0
    assert "onerror=" in visit.page.locator("h1").inner_text()
    assert visit.requests == [file.as_uri()]
    assert visit.said == []


@needs_runtime
def test_the_table_sorts_by_number_and_filters(
    browser: Any, session: Session, tmp_path: Path
) -> None:
    page = Visit(browser, written(session, tmp_path)).page
    first = page.locator("#overview-table tbody tr:visible th").first
    assert first.inner_text() == "torch f32"
    page.get_by_role("button", name="J/token").click()
    assert first.inner_text() == "torch int8"
    page.get_by_role("button", name="J/token").press("Enter")
    assert first.inner_text() == "torch f32"
    page.fill("#filter", "INT8")
    assert page.locator("#overview-table tbody tr:visible").count() == 1
    assert page.locator("#matches").inner_text() == "1 of 2 cells"


@needs_runtime
def test_choosing_a_cell_draws_its_timeline(browser: Any, session: Session, tmp_path: Path) -> None:
    visit = Visit(browser, written(session, tmp_path))
    label = "#timeline-chart svg[aria-label*='{}'], #timeline-chart [aria-label*='{}']"
    visit.page.select_option("#timeline-cell", label="torch int8")
    visit.page.wait_for_selector(label.format("torch int8", "torch int8"), state="attached")
    assert visit.said == []


@needs_runtime
def test_pages_of_poor_sessions_open_without_complaint(
    browser: Any, poor_session: Session, tmp_path: Path
) -> None:
    visit = Visit(browser, written(poor_session, tmp_path))
    assert visit.said == []
    assert visit.page.locator("h1").inner_text()
