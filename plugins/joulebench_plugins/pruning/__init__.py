"""Pruning: techniques that take weights out of a checkpoint, so that every backend can run it."""

from __future__ import annotations

from joulebench.api import Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """Three that write zeros, one that cuts a smaller model out, one for each token anew."""
    from joulebench_plugins.pruning.contextual import ContextualSparsity
    from joulebench_plugins.pruning.structured import PruneStructured
    from joulebench_plugins.pruning.unstructured import PruneMagnitude, PruneSparseGpt, PruneWanda

    return [PruneMagnitude, PruneWanda, PruneSparseGpt, PruneStructured, ContextualSparsity]
