"""Reads models one after another as ``plan``, the converters and the worker do, in a process that may die of it.

Paths come in on standard input, a line each; a line of JSON with what became of the model goes out.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from joulebench.errors import JoulebenchError
from joulebench.models.catalogue import read_catalogue
from joulebench.models.store import hash_content
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry
from joulebench.worker.tokenizer import CheckpointTokenizer

#: No reader of a model of 1.3 MB needs more than this beyond what the process has at first.
_MEMORY_BYTES = 2 << 30
_WORSE = ("read", "refused", "vague", "panic", "traceback")
_TEXTS = ("the cat sat on the mat", "a" * 200 + "!", "")
_PROFILE = """version = 1
[model.m]
source = "path:{path}"
[backend.torch]
[backend.llamacpp]
[backend.onnx]
[workload.generate]
prompts = "builtin:short"
new_tokens = 4
"""


class Readers:
    """Everything that reads a model outside of a runtime."""

    def __init__(self) -> None:
        self.registry = default_registry()
        self.folders = self.registry.profile_dirs()
        self.catalogue = read_catalogue(self.folders)

    def stages(self, model: Path, output: Path) -> list[tuple[str, Callable[[], object]]]:
        """By name, in the order in which a run comes to them."""
        common: list[tuple[str, Callable[[], object]]] = [
            ("plan", lambda: self.plan(model)),
            ("hash", lambda: hash_content(model)),
        ]
        if model.suffix == ".gguf":
            return [*common, ("import", lambda: self.convert("gguf-import", model, output))]
        return [
            *common,
            ("export", lambda: self.convert("gguf-export", model, output)),
            ("tokenizer", lambda: self.tokenize(model)),
        ]

    def plan(self, model: Path) -> None:
        """All that the parent of a run learns of it."""
        text = _PROFILE.format(path=model)
        make_plan(parse_profile(text, "p.toml", model.parent), self.registry, self.catalogue, self.folders)

    def convert(self, name: str, model: Path, output: Path) -> None:
        """As the process of a conversion does."""
        converter = self.registry.converter(name)
        converter.convert(model, output, {})

    def tokenize(self, model: Path) -> None:
        """As the worker does."""
        if not (model / "tokenizer.json").is_file():
            return
        tokenizer = CheckpointTokenizer(model)
        for text in _TEXTS:
            tokenizer.decode(tokenizer.encode(text, False))
            tokenizer.encode(text, True)


def read(readers: Readers, model: Path) -> dict[str, str]:
    """``read``, ``refused``, ``vague`` (a refusal that names no place) or worse; where, and the words.

    What planning refuses goes no further; what it takes goes to every reader.
    """
    output = Path(tempfile.mkdtemp(dir=model.parent))
    answers = []
    for stage, act in readers.stages(model, output):
        outcome, words = _end(act, model)
        answers.append({"outcome": outcome, "stage": stage, "words": words})
        if (stage, outcome) == ("plan", "refused"):
            break
    shutil.rmtree(output, ignore_errors=True)
    return max(answers, key=lambda answer: _WORSE.index(answer["outcome"]))


def _end(act: Callable[[], object], model: Path) -> tuple[str, str]:
    try:
        act()
    except JoulebenchError as error:
        place = error.where is not None or str(model) in str(error)
        return ("refused" if place else "vague"), str(error)
    except (Exception, MemoryError) as error:
        return "traceback", f"{type(error).__name__}: {error}"[:500]
    except BaseException as error:  # a panic of the tokenizers' library
        return "panic", f"{type(error).__name__}: {error}"[:500]
    return "read", ""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    readers = Readers()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    first = True
    for line in sys.stdin:
        path = Path(json.loads(line))
        answers.write(json.dumps(read(readers, path)) + "\n")
        answers.flush()
        if first:  # the good model has brought in every library
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (max(size, used) + _MEMORY_BYTES,) * 2)
            first = False


if __name__ == "__main__":
    main()
