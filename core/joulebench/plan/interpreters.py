"""Which interpreter does the work of each plugin that a profile names."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.api import Availability, Backend, Converter, RuntimeTechnique, Technique
from joulebench.environments.asking import Interpreters, Place, named_python
from joulebench.environments.python import OtherPython
from joulebench.errors import InterpreterError, ProfileError
from joulebench.profile.reading import Chain, Choice, Profile, Step


class Placing:
    """Places of a profile's plugins. An interpreter that the profile names must serve.

    One that does not is a :class:`ProfileError`: wrong use. An environment that is missing is a
    matter of availability: cells are skipped with its cure.
    """

    def __init__(self, profile: Profile, interpreters: Interpreters) -> None:
        self._profile = profile
        self._interpreters = interpreters

    def backend(self, choice: Choice, backend: Backend) -> Place:
        """Where the workers of a backend run."""
        where = self._profile.where("backend", choice.label, "python")
        python = self._named(choice.python, where)
        try:
            return self._interpreters.place("backend", backend, python)
        except InterpreterError as error:
            raise _as_profile_error(error, where) from None

    def step(self, chain: Chain, step: Step, technique: Technique) -> Place:
        """Where a technique of a chain works."""
        key = "python" if len(chain.steps) == 1 else "steps"
        where = self._profile.where("technique", chain.label, key)
        python = self._named(step.python, where)
        try:
            return self._interpreters.place("technique", technique, python)
        except InterpreterError as error:
            raise _as_profile_error(error, where) from None

    def converter(self, converter: Converter) -> Place:
        """Where a converter works."""
        return self._interpreters.place("converter", converter)

    def _named(self, command: str | None, where: str) -> OtherPython | None:
        if command is None:
            return None
        try:
            return named_python(command, self._profile.folder)
        except InterpreterError as error:
            raise _as_profile_error(error, where) from None

    def worker(
        self, backend: Backend, device: str, place: Place, steps: Sequence[tuple[RuntimeTechnique, Place]]
    ) -> tuple[OtherPython | None, Availability]:
        """The one interpreter of a cell's worker, in which backend and techniques must work.

        It is the one that any of them asks for; two that differ cannot be had.
        """
        python, asker = place.python, f"backend '{backend.name}'"
        for technique, step_python in steps:
            if step_python.python is None:
                continue
            if python is not None and python.path != step_python.python.path:
                reason = (
                    f"{asker} needs {python.title}, technique '{technique.name}' needs "
                    f"{step_python.python.title}: one worker cannot be in both"
                )
                return None, Availability.no(reason)
            python, asker = step_python.python, f"technique '{technique.name}'"
        if python is None:
            return None, Availability.yes()
        try:
            return python, self._all_there(python, backend, device, [technique for technique, _ in steps])
        except InterpreterError as error:
            return None, Availability.no(str(error))

    def _all_there(
        self, python: OtherPython, backend: Backend, device: str, techniques: Sequence[RuntimeTechnique]
    ) -> Availability:
        place = self._interpreters.place("backend", backend, python)
        for technique in techniques:
            availability = self._interpreters.place("technique", technique, python).availability
            if not availability.ok:
                return _in(python, f"technique '{technique.name}'", availability)
        if not place.availability.ok:
            return _in(python, f"backend '{backend.name}'", place.availability)
        if device not in place.devices:
            return Availability.no(f"in {python.title}: device '{device}' is not there")
        return place.availability


def _in(python: OtherPython, what: str, availability: Availability) -> Availability:
    return Availability.no(f"in {python.title}: {what}: {availability.reason}", availability.cure)


def _as_profile_error(error: InterpreterError, where: str) -> ProfileError:
    what = error.what if error.where is None else f"{error.where}: {error.what}"
    return ProfileError(what, where=where, hint=error.hint)
