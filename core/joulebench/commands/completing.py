"""What a shell may complete: profiles, models, sessions, cells, plugins. Read when TAB is pressed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    import click


def profiles(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of shipped profiles, and files."""
    from joulebench.profile.shipped import shipped_profiles
    from joulebench.registry.loading import default_registry

    # Files first: click's script for bash forgets what came before them.
    named = _matching(shipped_profiles(default_registry().profile_dirs()), incomplete)
    return [CompletionItem(incomplete, type="file"), *named]


def shipped(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of shipped profiles alone."""
    return profiles(ctx, parameter, incomplete)[1:]


def models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the catalogue: models, shapes and texts."""
    from joulebench.models.catalogue import read_catalogue
    from joulebench.registry.loading import default_registry

    catalogue = read_catalogue(default_registry().profile_dirs())
    names = [*catalogue.models, *catalogue.published, *(f"shape:{name}" for name in catalogue.shapes)]
    return _matching([*names, *(f"catalogue:{name}" for name in catalogue.texts)], incomplete)


def sessions(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``latest``, the sessions of this folder, and folders."""
    from joulebench.session.files import SESSION_FILE
    from joulebench.session.places import DEFAULT_FOLDER, LATEST

    folders = sorted((file.parent for file in DEFAULT_FOLDER.glob(f"*/{SESSION_FILE}")), reverse=True)
    return [CompletionItem(incomplete, type="dir"), *_matching([LATEST, *map(str, folders)], incomplete)]


def cells(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Labels of the cells of the sessions that stand on the command line already."""
    from joulebench.errors import JoulebenchError
    from joulebench.session.places import open_sessions

    named = ctx.params.get("sessions") or ctx.params.get("session") or ()
    try:
        opened = open_sessions([named] if isinstance(named, str) else named, lambda text: None)
    except JoulebenchError:
        return []
    return _matching([label for session in opened for label in session.labels().values()], incomplete)


def renderers(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Formats of reports."""
    from joulebench.registry.loading import default_registry

    return _matching(default_registry().names("renderer"), incomplete)


def plugins(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of plugins of every kind."""
    from joulebench.registry.loading import default_registry, provided_names

    return _matching(
        sorted({name for names in provided_names(default_registry()).values() for name in names}), incomplete
    )


def environments(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Environments that plugins need, and those that have been made."""
    from joulebench.environments.store import Environments, needed_environments
    from joulebench.registry.loading import default_registry

    return _matching(sorted({*needed_environments(default_registry()), *Environments().names()}), incomplete)


def artifacts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys of artifacts in the cache, as ``artifacts list`` shows them."""
    from joulebench.models.store import Store
    from joulebench.models.upkeep import entries

    return _matching([entry.key[:12] for entry in entries(Store())], incomplete)


def _matching(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
