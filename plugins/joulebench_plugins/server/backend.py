"""The backend ``server``: an OpenAI-compatible endpoint, started here or already running."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from joulebench.api import Artifact, Backend, BackendSession, Device, Option, Settings
from joulebench.backendkit import cpu_device
from joulebench.errors import ProfileError
from joulebench_plugins.server.fields import further_fields


class ServerBackend(Backend):
    """Measures a server as its clients see it, and on this machine the process behind it."""

    name: ClassVar[str] = "server"
    summary: ClassVar[str] = "an OpenAI-compatible server, started by joulebench or already running"
    accepts: ClassVar[tuple[str, ...]] = ("hf",)
    capabilities: ClassVar[frozenset[str]] = frozenset({"serve"})
    options: ClassVar[tuple[Option, ...]] = (
        Option("command", "command", None, "starts the server; {model}, {port} and {python} are filled in"),
        Option("url", "str", None, "address of a server that is already running, such as http://SERVER:8080"),
        Option("format", "str", "hf", "format of the model that {model} names", choices=("hf", "gguf")),
        Option("endpoint", "str", "completions", "what is asked", choices=("completions", "chat")),
        Option(
            "served_name", "str", None, "the model's name at the server; {model} is filled in; default: its only one"
        ),
        Option("key_env", "str", None, "environment variable that holds the secret key"),
        Option("body", "str", "{}", "further fields of each request, as a JSON object"),
        Option("ready_s", "float", 300.0, "longest time until the server answers", minimum=0.1),
        Option("threads", "int", None, "recorded, and filled in as {threads}", minimum=1),
    )

    def devices(self) -> tuple[Device, ...]:
        """The processor; what else the server uses is its own matter."""
        return (cpu_device(),)

    def formats(self, settings: Settings) -> tuple[str, ...]:
        """The one that the profile names."""
        return (str(settings.get("format", "hf")),)

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Why no server can be reached with these settings, or ``None``."""
        if ("command" in settings) == ("url" in settings):
            return "set either command (joulebench starts the server) or url (it is running)"
        if "url" in settings and not _is_address(str(settings["url"])):
            return f"url '{settings['url']}' is no http:// or https:// address without user name, password and query"
        variable = settings.get("key_env")
        if variable is not None and not os.environ.get(str(variable)):
            return f"key_env: the environment variable {variable} is not set"
        try:
            further_fields(settings)
        except ProfileError as error:
            return error.what
        return None

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Start the server, or find it, and ask it for one token."""
        from joulebench_plugins.server.session import ServerSession

        return ServerSession(artifact, settings)


def _is_address(url: str) -> bool:
    """Secrets have no place in an address: it is part of the profile, which sessions keep."""
    try:
        parts = urlsplit(url)
        usable = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return usable and parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in url and not parts.query
