"""The renderer ``metrics``: a session as OpenMetrics text, for a CI job that keeps them."""

import json
import math

from joulebench.api import Renderer
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1
_KEYS = ("cell", "channel", "provenance")


class Metrics(Renderer):
    """Joules and seconds of each cell; provenance is a label, so nothing is mixed."""

    name, summary, suffix = "metrics", "cells as OpenMetrics text", ".prom"

    def render(self, session, settings):
        """One sample a line, then the end."""
        labels = {row["cell_id"]: row["label"] for row in session.cells().to_pylist()}
        sums = {}
        for row in session.table("energy").to_pylist():
            if row["phase"] == "total" and row["gross_j"] is not None:
                key = ("joules", row["cell_id"], row["channel"], row["provenance"])
                sums.setdefault(key, []).append(row["gross_j"])
        for row in session.table("blocks").to_pylist():
            sums.setdefault(("seconds", row["cell_id"]), []).append(row["duration_s"])
        lines = [
            f"joulebench_{name}{{{_labels(labels.get(cell, cell), *more)}}} {math.fsum(values)!r}"
            for (name, cell, *more), values in sums.items()
        ]
        return "\n".join([*lines, "# EOF\n"])


def _labels(*values):
    """Quoted as JSON quotes, which leaves no control character."""
    return ",".join(f"{k}={json.dumps(v)}" for k, v in zip(_KEYS, values, strict=False))


@hookimpl
def joulebench_renderers():
    """The one renderer."""
    return [Metrics]
