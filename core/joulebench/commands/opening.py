"""Opens a page in the user's browser."""

from __future__ import annotations

from pathlib import Path

import click


def open_page(page: Path | None) -> None:
    """Open the page, or tell where it is if there is no browser; a missing page is no fault of the run."""
    if page is None:
        click.echo("no page was written: nothing to open", err=True)
        return
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        click.echo(f"no browser could be started: open {page} yourself", err=True)
