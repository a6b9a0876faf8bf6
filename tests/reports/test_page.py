from __future__ import annotations

import importlib.util
import re
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import make_session
import pytest

from joulebench.session import Session
from joulebench_reports.html.markup import data_block, h, render
from joulebench_reports.html.page import NO_CHARTS
from joulebench_reports.renderers import HtmlRenderer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_runtime = pytest.mark.skipif(
    importlib.util.find_spec("vl_convert") is None, reason="joulebench[html] is not installed"
)


def bare_page(session: Session) -> str:
    """The page without charts."""
    page = HtmlRenderer().render(session, {"charts": False})
    assert isinstance(page, str)
    return page


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
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_strangers_text_makes_no_element(hostile_session: Session) -> None:
    parser = Tags()
    parser.feed(bare_page(hostile_session))
    assert not [tag for tag, _ in parser.tags if tag in ("img", "iframe", "link", "object")]
    assert not [a for _, attrs in parser.tags for a in attrs if a.startswith("on")]


def test_without_the_runtime_the_page_has_tables_and_says_how_to_get_charts(session: Session) -> None:
    page = bare_page(session)
    assert "joulebench[html]" in NO_CHARTS
    assert page.count("pip install &#x27;joulebench[html]&#x27;") == 1
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real Chromium, started once."""
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


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """It, with nothing of other tests in it."""
    yield chromium
    for context in chromium.contexts:
        context.close()


class Visit:
    """A page that was opened, with what it said and asked for."""

    def __init__(self, browser: Any, file: Path, scheme: str = "light", *, bypass_csp: bool = False) -> None:
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_context(color_scheme=scheme, bypass_csp=bypass_csp).new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-drawn=yes]", state="attached")


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
    # Energy, decode and prefill speed, energy by phase and within an answer, quality against cost, the timeline.
    assert charts.count() == 7
    for index in range(charts.count()):
        assert charts.nth(index).locator("svg").count() >= 1
    assert visit.page.locator("#timeline-chart svg path").count() > 3
    assert visit.said == []
    assert visit.requests == [file.as_uri()]


@needs_runtime
def test_a_strangers_text_is_inert_in_the_browser(browser: Any, hostile_session: Session, tmp_path: Path) -> None:
    file = written(hostile_session, tmp_path)
    visit = Visit(browser, file)
    assert visit.page.evaluate("window.pwned") is None
    assert visit.page.locator("img").count() == 0
    assert "onerror=" in visit.page.locator("h1").inner_text()
    assert visit.requests == [file.as_uri()]
    assert visit.said == []


@needs_runtime
def test_the_table_sorts_by_number_and_filters(browser: Any, session: Session, tmp_path: Path) -> None:
    page = Visit(browser, written(session, tmp_path)).page
    first = page.locator("#overview-table tbody tr:visible th").first
    assert first.inner_text() == "torch int8"  # the least energy comes first
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
def test_pages_of_poor_sessions_open_without_complaint(browser: Any, poor_session: Session, tmp_path: Path) -> None:
    visit = Visit(browser, written(poor_session, tmp_path))
    assert visit.said == []
    assert visit.page.locator("h1").inner_text()


# -- many cells ----------------------------------------------------------------------------------

#: As much as a page may weigh, in bytes.
MOST_AT_12, MOST_AT_500 = 3_000_000, 10_000_000


@needs_runtime
def test_a_page_of_twelve_cells_weighs_at_most_three_megabytes(tmp_path: Path) -> None:
    cells = make_session.many_cells(12)
    session = Session(make_session.write(tmp_path / "s", cells))
    assert written(session, tmp_path).stat().st_size <= MOST_AT_12


@pytest.fixture(scope="module")
def large_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 500 cells, each with readings; the last one's texts are a stranger's."""
    folder = tmp_path_factory.mktemp("large")
    cells = make_session.many_cells(500)
    for cell in cells:
        cell.blocks, cell.seconds = 4, 0.2
    cells[-1].prompt = cells[-1].response = cells[-1].label = make_session.HOSTILE
    return written(Session(make_session.write(folder / "s", cells)), folder)


@needs_runtime
@pytest.mark.slow
def test_a_page_of_500_cells_is_light_draws_and_filters(large_page: Path, browser: Any) -> None:
    assert large_page.stat().st_size <= MOST_AT_500
    visit = Visit(browser, large_page)
    assert visit.page.locator("#overview-table tbody tr").count() == 500
    visit.page.fill("#filter", "llamacpp int4")
    assert visit.page.locator("#matches").inner_text() == "20 of 500 cells"
    assert visit.page.locator("#timeline-cell option").count() == 24
    assert visit.said == []
    assert visit.requests == [large_page.as_uri()]


@needs_runtime
@pytest.mark.slow
def test_a_folded_part_of_a_large_page_is_made_when_it_is_opened(large_page: Path, browser: Any) -> None:
    visit = Visit(browser, large_page)
    last = visit.page.locator("#details details").last
    assert last.locator("table").count() == 0
    last.locator("summary").press("Enter")
    last.locator("table").first.wait_for()
    assert "energy, gross" in last.inner_text()
    visit.page.locator("#requests details summary").last.press("Enter")
    visit.page.locator("#requests details blockquote").first.wait_for(state="attached")
    assert visit.page.evaluate("window.pwned") is None
    assert visit.page.locator("img").count() == 0
    assert visit.said == []


@needs_runtime
@pytest.mark.slow
def test_a_link_to_a_cell_of_a_large_page_opens_its_figures(large_page: Path, browser: Any) -> None:
    visit = Visit(browser, large_page)
    visit.page.locator("#overview-table tbody th a").nth(3).press("Enter")
    opened = visit.page.locator("#details details[open]")
    opened.locator("table").first.wait_for()
    assert opened.count() == 1


@needs_runtime
def test_a_stretch_of_time_can_be_chosen(browser: Any, session: Session, tmp_path: Path) -> None:
    visit = Visit(browser, written(session, tmp_path))
    visit.page.fill("#timeline-from", "10")
    visit.page.fill("#timeline-to", "20")
    visit.page.press("#timeline-to", "Tab")
    ticks = "[...document.querySelectorAll('#timeline-chart svg text')].map(t => t.textContent)"
    # Asked again and again: what the browser polls by itself needs eval, which the page forbids.
    deadline = time.monotonic() + 30
    while not {"10", "20"} <= set(visit.page.evaluate(ticks)):
        assert time.monotonic() < deadline
        visit.page.wait_for_timeout(50)
    assert visit.said == []


@needs_runtime
def test_sorting_by_energy_keeps_provenances_apart(browser: Any, tmp_path: Path) -> None:
    cells = [
        make_session.Cell("a", "a", energies={"estimated": 1.0}, joules_per_token=0.1),
        make_session.Cell("b", "b", energies={"measured": 1.0}, joules_per_token=0.9),
        make_session.Cell("c", "c", energies={"measured": 1.0}, joules_per_token=0.5),
        make_session.Cell("d", "d", energies={"measured": None}),
    ]
    page = Visit(browser, written(Session(make_session.write(tmp_path / "s", cells)), tmp_path)).page
    names = page.locator("#overview-table tbody th")
    button = page.locator("#overview-table thead th[data-apart] button").first
    button.click()
    assert names.all_inner_texts() == ["c", "b", "a", "d"]
    button.click()
    assert names.all_inner_texts() == ["b", "c", "a", "d"]


# -- for every reader ----------------------------------------------------------------------------


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_texts_and_marks_stand_out_from_their_ground(theme: int) -> None:
    css = (resources.files("joulebench_reports.html") / "assets" / "page.css").read_text("utf-8")
    named = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css.split("@media")[theme]))
    for name in ("ink", "soft", "accent", "warn", "measured", "estimated", "simulated"):
        assert _contrast(named[name], named["surface"]) >= 4.5, name
        if name in ("ink", "soft"):
            assert _contrast(named[name], named["raised"]) >= 4.5, name
    for name in ("prefill", "decode", *(f"series-{n}" for n in range(1, 9))):
        # 3 : 1 is what WCAG asks of graphics (1.4.11).
        assert _contrast(named[name], named["surface"]) >= 3, name


@needs_runtime
def test_everything_that_acts_or_scrolls_is_reached_and_named(browser: Any, session: Session, tmp_path: Path) -> None:
    page = Visit(browser, written(session, tmp_path)).page
    for kind in ("input", "select"):
        for control in page.locator(f"main {kind}").all():
            assert page.locator(f"label[for={control.get_attribute('id')}]").count() == 1
    for part in page.locator(".scroll").all():
        assert part.get_attribute("tabindex") == "0"
        assert part.get_attribute("aria-label")
    for chart in page.locator(".chart").all():
        assert chart.get_attribute("aria-label")
    assert page.locator("figure:not(:has(details))").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "A"


@needs_runtime
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_serious_finding_of_axe(browser: Any, session: Session, tmp_path: Path, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    visit = Visit(browser, written(session, tmp_path), scheme, bypass_csp=True)
    visit.page.evaluate(axe_source())
    state = visit.page.evaluate("axe.run()")
    assert len(state["passes"]) > 20  # it has looked
    assert [(rule["id"], rule["impact"]) for rule in state["violations"]] == []


def axe_source() -> str:
    """The rules themselves, which the package brings."""
    files = resources.files("axe_playwright_python")
    return next(file for file in files.iterdir() if file.name == "axe.min.js").read_text("utf-8")
