"""``joulebench report``."""

from __future__ import annotations

from pathlib import Path

import click

from joulebench.errors import ProfileError, SessionError, UnavailableError


@click.command()
@click.argument("session", type=click.Path(path_type=Path))
@click.option("--format", "name", default="terminal", show_default=True,
              help="terminal, markdown, csv, json, html, or a plugin's renderer.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File to write.")
@click.option("--option", "given", multiple=True, metavar="KEY=VALUE",
              help="An option of the renderer. Repeatable.")  # fmt: skip
def report(session: Path, name: str, output: Path | None, given: tuple[str, ...]) -> None:
    """Render the session in folder SESSION, finished or not."""
    from joulebench.registry import default_registry
    from joulebench.session import Session
    from joulebench.settings import complete

    renderer = default_registry().renderer(name)
    availability = renderer.available()
    if not availability.ok:
        raise UnavailableError(
            f"the '{name}' report cannot be made: {availability.reason}", hint=availability.cure
        )
    settings = complete(
        renderer.options, dict(_pair(each) for each in given), lambda key: f"--option {key}"
    )
    content = renderer.render(Session(session), settings)
    if output is None:
        click.echo(content, nl=not isinstance(content, bytes))
        return
    data = content.encode() if isinstance(content, str) else content
    try:
        output.write_bytes(data)
    except OSError as error:
        raise SessionError(f"cannot be written: {error.strerror}", where=str(output)) from None
    click.echo(f"wrote {output}", err=True)


def _pair(text: str) -> tuple[str, object]:
    import tomllib

    key, equals, raw = text.partition("=")
    if not equals:
        raise ProfileError(f"'{text}' is not KEY=VALUE", where="--option")
    try:
        return key, tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return key, raw
