"""The forms in which a command gives its answer, and where to: what ``compare`` and ``advise`` share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from joulebench_reports.sections.report import Report

_FORMS: Final = ("terminal", "markdown", "html", "json")
_SUFFIXES: Final = {".md": "markdown", ".html": "html", ".json": "json"}
_NARROWEST: Final = 60

_Function = TypeVar("_Function", bound=Callable[..., Any])


def output_options(function: _Function) -> _Function:
    """``--format``, ``--json`` and ``--output``; the command gets ``form``, ``as_json`` and ``output``."""
    for option in (
        click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON: --format json."),
        click.option(
            "--format",
            "form",
            type=click.Choice(_FORMS),
            help="terminal, markdown, html or json. By default that of the output's suffix, otherwise terminal.",
        ),
    ):
        function = option(function)
    return function


def write_answer(
    report: Report,
    document: Callable[[], str],
    form: str | None,
    output: Path | None,
    as_markdown: Callable[[Report], str] | None = None,
) -> None:
    """The answer in its form, into its file or to standard output; ``document`` makes the JSON."""
    from joulebench.commands.terminal import write_document
    from joulebench_reports.html.page import page_text
    from joulebench_reports.text.markdown import markdown_text
    from joulebench_reports.text.terminal import terminal_text

    match form or _SUFFIXES.get("" if output is None else output.suffix.lower(), "terminal"):
        case "json":
            text = document()
        case "markdown":
            text = (as_markdown or markdown_text)(report)
        case "html":
            text = page_text(report, None)
        case _:
            width = shutil.get_terminal_size((100, 24)).columns
            text = terminal_text(report, max(width, _NARROWEST))
    write_document(text, output)
