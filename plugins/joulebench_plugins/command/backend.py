"""The backend ``command``: a program of the user's, in any language, that speaks the protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from joulebench.api import Artifact, Backend, BackendSession, Device, Option, Settings
from joulebench.backendkit import cpu_device
from joulebench.errors import JoulebenchError, ProfileError
from joulebench_plugins.command.link import Link, LinkError, TrialLink
from joulebench_plugins.command.session import CommandSession

_UNSET: Final = 'set command = ["./my-worker"] in the profile'
#: What a program may say that it can do: there are requests for no more.
_KNOWN: Final = frozenset({"generate", "score", "logits"})


class CommandBackend(Backend):
    """Runs any program that answers the requests of the runtime protocol.

    What it reads and can do it says when it is greeted, which happens once while planning.
    """

    name = "command"
    summary = "your own program, in any language, over standard input and output"
    accepts = ("hf",)
    capabilities = frozenset()
    options = (
        Option("command", "command", None, "the program and its arguments"),
        Option("threads", "int", None, "passed to the program, which may ignore it", minimum=1),
    )

    def devices(self) -> tuple[Device, ...]:
        """The processor; what else the program uses is its own matter."""
        return (cpu_device(),)

    def formats(self, settings: Settings) -> tuple[str, ...]:
        """Those that the program states, best first; else checkpoints."""
        stated = self._said(settings).get("formats")
        if isinstance(stated, list) and stated and all(isinstance(part, str) for part in stated):
            return tuple(stated)
        return self.accepts

    def abilities(self, settings: Settings) -> frozenset[str]:
        """Those that the program states, as far as there are requests for them."""
        stated = self._said(settings).get("capabilities")
        if not isinstance(stated, list):
            return frozenset({"generate"})
        return frozenset(ability for ability in _KNOWN if ability in stated)

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Why the program cannot be used: none is named, it does not start, or does not answer."""
        command = settings.get("command")
        if command is None:
            return f"no program is named: {_UNSET}"
        fault = _greeting(str(command)).get("fault")
        return None if fault is None else str(fault)

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Start the program and let it load the model."""
        command = settings.get("command")
        if command is None:
            raise ProfileError("no program is named", where="backend.command", hint=_UNSET)
        link = Link(str(command))
        try:
            link.greet()
            return CommandSession(link, artifact, device, settings)
        except BaseException:
            link.close()
            raise

    def _said(self, settings: Settings) -> Mapping[str, Any]:
        command = settings.get("command")
        if command is None:
            return {}  # check() says that none is named
        return _greeting(str(command))


@cache
def _greeting(command: str) -> Mapping[str, Any]:
    """What the program says of itself, asked once in a process; ``fault`` where it says nothing."""
    try:
        with contextlib.closing(TrialLink(command)) as link:
            try:
                return link.greet()
            except JoulebenchError as error:  # why, it may have told before
                words = link.last_words()
                what = f"{error.what}: {words}" if words else error.what
                raise LinkError(what, where=error.where, hint=error.hint) from None
    except JoulebenchError as error:
        return {"fault": str(error).replace("\n  hint: ", " (") + (")" if error.hint else "")}
