"""GGUF files: the converters ``gguf-import``, ``gguf-export`` and ``gguf-convert``, to and from checkpoints."""

from __future__ import annotations

from joulebench.api import Converter
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """The importer, the exporter for llama, and llama.cpp's own converter for the others."""
    from joulebench_plugins.gguf.converter import GgufImport
    from joulebench_plugins.gguf.export import GgufExport
    from joulebench_plugins.gguf.upstream import GgufConvert

    return [GgufImport, GgufExport, GgufConvert]
