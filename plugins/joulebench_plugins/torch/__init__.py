"""PyTorch: the backend ``torch`` and the converter ``shape-init`` for models without weights."""

from __future__ import annotations

from joulebench.api import Backend, Converter
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The backend."""
    from joulebench_plugins.torch.backend import TorchBackend

    return [TorchBackend]


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """Random weights for a model of which only the shape is given."""
    from joulebench_plugins.torch.shape import ShapeInit

    return [ShapeInit]
