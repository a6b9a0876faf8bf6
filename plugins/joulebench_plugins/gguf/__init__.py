"""GGUF files: the converters ``gguf-import`` and ``gguf-export``, to and from checkpoints."""

from __future__ import annotations

from joulebench.api import Converter
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """The importer and the exporter."""
    from joulebench_plugins.gguf.converter import GgufImport
    from joulebench_plugins.gguf.export import GgufExport

    return [GgufImport, GgufExport]
