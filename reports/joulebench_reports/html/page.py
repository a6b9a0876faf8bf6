"""One self-contained HTML page: no request leaves it, and foreign text in it is inert."""

from __future__ import annotations

from importlib import resources
from typing import Final

from joulebench_reports.charts.specification import Chart
from joulebench_reports.html.elements import SectionElements, head, navigation
from joulebench_reports.html.markup import Child, data_block, h, render, script, style
from joulebench_reports.sections.report import Report, Timelines
from joulebench_reports.words.text import plain

#: What a page without the runtime says in place of its charts.
NO_CHARTS: Final = "Charts are left out: pip install 'joulebench[html]' draws them. All tables are here."


def page_text(report: Report, runtime: str | None) -> str:
    """The document; scripts may run only if their hash is the one that is named here.

    ``runtime`` is the program that draws charts; without it they are left out.
    """
    sources = [_asset("page.js")] if runtime is None else [runtime, _asset("page.js")]
    scripts = [script(source) for source in sources]
    policy = (
        f"default-src 'none'; script-src {' '.join(digest for _, digest in scripts)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    page = h(
        "html",
        h(
            "head",
            h("meta", charset="utf-8"),
            h("meta", http_equiv="Content-Security-Policy", content=policy),
            h("meta", name="viewport", content="width=device-width, initial-scale=1"),
            h("meta", name="color-scheme", content="light dark"),
            h("title", f"{plain(report.title)} – joulebench"),
            style(_asset("page.css")),
        ),
        h("body", *_body(report, drawn=runtime is not None), *(element for element, _ in scripts)),
        lang="en",
    )
    return "<!doctype html>\n" + render(page) + "\n"


def _body(report: Report, *, drawn: bool) -> list[Child]:
    sections = [SectionElements(section, drawn) for section in report.sections]
    charts = {identifier: spec for section in sections for identifier, spec in section.charts.items()}
    pictured = any(isinstance(item, (Chart, Timelines)) for section in report.sections for item in section.items)
    return [
        head(report),
        navigation(report.sections),
        h("p", NO_CHARTS, class_="box") if pictured and not drawn else None,
        h("main", *(section.element for section in sections)),
        h("footer", plain(report.footer)),
        data_block("charts-data", charts) if drawn else None,
    ]


def _asset(name: str) -> str:
    folder = resources.files("joulebench_reports.html") / "assets"
    return (folder / name).read_text(encoding="utf-8")
