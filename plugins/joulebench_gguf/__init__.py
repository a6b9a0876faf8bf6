"""GGUF importer: turns a llama-type GGUF file into a Hugging Face checkpoint."""

from __future__ import annotations

from joulebench.api import Converter
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """The importer."""
    from joulebench_gguf.converter import GgufImport

    return [GgufImport]
