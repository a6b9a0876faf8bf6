"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: Names another cache folder than the user's.
CACHE_VARIABLE: Final = "JOULEBENCH_CACHE"


def cache_folder() -> Path:
    """The user's cache for models and artifacts, where a backend may keep its own folder.

    ``JOULEBENCH_CACHE`` overrides it.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("joulebench"))
