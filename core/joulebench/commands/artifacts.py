"""``joulebench artifacts``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import echo_json, echo_table, json_option
from joulebench.commands.helping import CommandGroup


@click.group(cls=CommandGroup)
def artifacts() -> None:
    """Converted and compressed models in the user's cache."""


@artifacts.command("list", epilog=examples("joulebench artifacts list"))
@json_option
def list_artifacts(as_json: bool) -> None:
    """List the artifacts, most recently used first."""
    from joulebench.models.store import Store
    from joulebench.models.upkeep import entries

    store = Store()
    listed = entries(store)
    if as_json:
        echo_json(
            [
                {
                    "key": entry.key,
                    "path": str(entry.folder),
                    "format": entry.stored.artifact.format if entry.stored else None,
                    "size_bytes": entry.size_bytes,
                    "content_hash": entry.stored.artifact.content_hash if entry.stored else None,
                    "lineage": list(entry.stored.artifact.lineage) if entry.stored else None,
                    "used_at": _utc(entry.used_s),
                    "made_in_s": entry.stored.seconds if entry.stored else None,
                    "fault": entry.fault,
                }
                for entry in listed
            ]
        )
        return
    rows = [
        [
            entry.key[:12],
            entry.stored.artifact.format if entry.stored else "?",
            _size(entry.size_bytes),
            (_utc(entry.used_s) or "?")[:10],
            " > ".join(entry.stored.artifact.lineage) if entry.stored else f"damaged: {entry.fault}",
        ]
        for entry in listed
    ]
    if rows:
        echo_table(rows, ["key", "format", "size", "last used", "how it was made"])
    total = sum(entry.size_bytes for entry in listed)
    click.echo(f"{len(listed)} artifacts, {_size(total)} in {store.root}")


@artifacts.command("verify", epilog=examples("joulebench artifacts verify", "joulebench artifacts verify 3f2a91"))
@click.argument("keys", nargs=-1, shell_complete=completing.artifacts)
def verify_artifacts(keys: tuple[str, ...]) -> int:
    """Check every byte of the artifacts KEYS against what was written; without KEYS, of all.

    A key prefix is enough. Exit code 1 if something is wrong.
    """
    from joulebench.models.store import Store
    from joulebench.models.upkeep import chosen, verify

    picked = chosen(Store(), keys)
    faulty = 0
    for entry in picked:
        fault = verify(entry)
        if fault:
            faulty += 1
            click.echo(f"{entry.key}: {fault} ('joulebench artifacts prune {entry.key[:12]}')")
    click.echo(f"{len(picked) - faulty} of {len(picked)} artifacts are whole")
    return 1 if faulty else 0


@artifacts.command(
    "prune",
    epilog=examples(
        "joulebench artifacts prune --dry-run",
        "joulebench artifacts prune --unused-days 0      # all of them",
        "joulebench artifacts prune 3f2a91",
    ),
)
@click.argument("keys", nargs=-1, shell_complete=completing.artifacts)
@click.option(
    "--unused-days",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="Without KEYS: remove what no run has used for DAYS (0: everything).",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, remove nothing.")
def prune_artifacts(keys: tuple[str, ...], unused_days: float, dry_run: bool) -> None:
    """Remove the artifacts KEYS; without KEYS, those that are damaged or long unused.

    An artifact is made again when a run needs it; one in use is kept.
    """
    from joulebench.models.store import Store
    from joulebench.models.upkeep import prune

    done = prune(Store(), keys, unused_days, dry_run=dry_run)
    for key in done.removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {key}")
    for key in done.in_use:
        click.echo(f"in use, kept: {key}")
    verb = "would be freed" if dry_run else "freed"
    click.echo(f"{len(done.removed)} artifacts, {_size(done.freed_bytes)} {verb}")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _utc(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")
