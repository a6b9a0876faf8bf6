"""Runs one converter or artifact technique: ``python -m joulebench.worker.transform``.

A process of its own, so that the parent of a run never imports a model library and a crash or a
shortage of memory costs one artifact. One JSON job on standard input, one JSON report as the last
line of standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joulebench.api import ArtifactTechnique
from joulebench.errors import JoulebenchError, PluginError
from joulebench.registry.loading import default_registry


def perform(job: Mapping[str, Any]) -> dict[str, object]:
    """Do the job; returns ``seconds`` and ``evidence``, or ``error`` with where and hint."""
    source, output = Path(job["source"]), Path(job["output"])
    settings = job["settings"]
    registry = default_registry()
    start = time.perf_counter()
    evidence: dict[str, object] = {}
    if job["kind"] == "converter":
        registry.converter(job["name"]).convert(source, output, settings)
    else:
        technique = registry.technique(job["name"])
        if not isinstance(technique, ArtifactTechnique):
            raise PluginError(f"technique '{job['name']}' does not transform artifacts")
        technique.apply(source, output, settings)
        _require_content(output, job["name"])
        evidence = dict(technique.evidence(source, output, settings))
    _require_content(output, job["name"])
    return {"seconds": time.perf_counter() - start, "evidence": evidence}


def _require_content(output: Path, name: str) -> None:
    if not any(output.iterdir()):
        raise PluginError(f"'{name}' wrote nothing")


def main() -> None:
    """Read the job, keep standard output for the report alone, do the job, report."""
    report_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    job = json.loads(sys.stdin.read())
    try:
        report = perform(job)
    except JoulebenchError as error:
        report = {"error": error.what, "where": error.where, "hint": error.hint}
    except MemoryError:
        report = {"error": f"'{job['name']}' ran out of memory"}
    except Exception as error:
        import traceback

        traceback.print_exc()
        report = {"error": f"'{job['name']}' failed: {type(error).__name__}: {error}"}
    report_to.write(json.dumps(report) + "\n")
    report_to.flush()


if __name__ == "__main__":
    main()
