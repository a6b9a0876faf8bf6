"""The files that a profile's settings name, as the paths that plugins take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from joulebench.api import Option, OptionValue, Settings
from joulebench.models.catalogue import Catalogue, resolve_text
from joulebench.plan.leakage import overlap_fault
from joulebench.profile.reading import Profile
from joulebench.profile.values import anchored


class ProfileFiles:
    """Finds the files of a profile. Without ``fetch``, a text that is still to be fetched has the
    path where it will lie, so that settings are the same before and after.
    """

    def __init__(
        self,
        profile: Profile,
        catalogue: Catalogue,
        profile_dirs: Sequence[Path],
        fetch: Callable[[str], None] | None = None,
    ) -> None:
        self._profile = profile
        self._catalogue = catalogue
        self._profile_dirs = profile_dirs
        self._fetch = fetch

    def path(self, value: str) -> Path:
        """The file that a value of a ``file`` option means."""
        return resolve_text(value, self._catalogue, self._profile_dirs, self._profile.folder, self._fetch)

    def paths(self, options: Sequence[Option], settings: Settings) -> dict[str, Path]:
        """The files that settings name, by the option."""
        return {
            option.name: self.path(str(settings[option.name]))
            for option in options
            if option.type == "file" and option.name in settings
        }

    def resolved(self, options: Sequence[Option], settings: Settings) -> dict[str, OptionValue]:
        """The settings as a plugin's methods take them: files and programs by their paths."""
        files = {name: str(path) for name, path in self.paths(options, settings).items()}
        return {**anchored(options, settings, self._profile.folder), **files}

    def judged(self) -> Iterator[Path]:
        """The texts that cells are judged on: perplexity's, and the agreement check's prompts."""
        if self._profile.quality is not None:
            yield self.path(self._profile.quality.text)
        if self._profile.agreement is not None:
            yield self.path(self._profile.agreement.prompts)

    def leak(self, file: Path) -> str | None:
        """Why a technique must not read this text, as far as the texts are here already."""
        for judged in self.judged():
            if file == judged:
                return "is the text that quality is judged on, which a technique must not see"
            if file.is_file() and judged.is_file() and (fault := overlap_fault(judged, file)):
                return fault
        return None
