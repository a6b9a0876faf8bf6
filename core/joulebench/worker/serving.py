"""The isolated worker: ``python -m joulebench.worker``. One process, one cell, one model.

Speaks :mod:`joulebench.protocol` on standard input and output. Whatever a library prints to
standard output goes to standard error, and what it reads is empty: it cannot break the protocol.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from typing import IO, Any

from joulebench.errors import JoulebenchError, PluginError
from joulebench.processes import die_with_parent
from joulebench.protocol import PROTOCOL_VERSION, OpenOrder
from joulebench.worker.openmodel import OpenModel


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until ``close`` or the end of input."""
    model: OpenModel | None = None
    for line in requests:
        order = json.loads(line)
        op = order["op"]
        answer: dict[str, object]
        text = ""
        try:
            if op == "hello":
                answer = {"protocol": PROTOCOL_VERSION, "pid": os.getpid()}
            elif op == "open":
                model = OpenModel(OpenOrder.from_json(order))
                answer = model.opened()
            elif op == "close":
                answer = {}
            elif model is None:
                raise PluginError(f"'{op}' before a model is open")
            else:
                answer = _perform(model, op, order)
            text = json.dumps(answer)
        except Exception as error:  # an answer that is no JSON (a plugin's facts) included
            text = json.dumps({"error": _describe(error)})
        answers.write(text + "\n")
        answers.flush()
        if op == "close":
            break
    if model is not None:
        model.session.close()


def _perform(model: OpenModel, op: str, order: Mapping[str, Any]) -> dict[str, object]:
    if op == "run":
        return model.run(order["first"], order["count"])
    if op == "score":
        return model.aside(lambda: model.score(order["text"], order["tokens"], order["window"]))
    if op == "refer":
        parameters = (order["prompts"], order["count"], order["tokens"], order["folder"])
        return model.aside(lambda: model.refer(*parameters))
    if op == "agree":
        return model.aside(lambda: model.agree(order["folder"]))
    if op == "inspect":
        return model.inspect()
    raise PluginError(f"unknown request '{op}'")


def _describe(error: Exception) -> dict[str, str]:
    if isinstance(error, JoulebenchError):
        return {"kind": "error", "message": str(error)}
    import traceback

    traceback.print_exc()
    memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    return {"kind": "memory" if memory else "error", "message": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Take standard input and output for the protocol alone and serve."""
    die_with_parent()  # one that was stopped for another's turn must not outlive a killed parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # a library that asks its user something gets no answer
    os.close(nothing)
    os.dup2(2, 1)
    serve(requests, answers)
