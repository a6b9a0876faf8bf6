"""The process in which a plugin is tried: ``python -m joulebench.pluginkit.child FD``.

It reads one job from standard input and writes a line of JSON to the descriptor FD when a check
begins and when it ends. Whatever the plugin does (crash, hang, print) happens here and is seen by
the parent, :mod:`joulebench.pluginkit.isolated`.
"""

from __future__ import annotations

import faulthandler
import inspect
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, Protocol

from joulebench.errors import JoulebenchError
from joulebench.pluginkit import behaviour, declared, loading
from joulebench.pluginkit.results import EndedCheck
from joulebench.registry.isolation import describe_failure
from joulebench.registry.loading import default_registry
from joulebench.testing.contracts import CONTRACTS, BrokenContractError, SkippedError, Subject

_SHOWN: Final = 60
_MADE: Final = "it can be made"
#: Share of the limit after which a check is taken to hang.
_SHARE: Final = 0.8


class Action(Protocol):
    """A check: returns facts, or raises what it found."""

    def __call__(self) -> Mapping[str, Any]:
        """Do it."""


@dataclass(frozen=True)
class Check:
    """A check under its name."""

    name: str
    action: Action


def checks_of(job: Mapping[str, Any]) -> Iterator[Check]:
    """The checks of a job, in their order."""
    point = job["entry_point"]
    if job["task"] == "load":
        yield Check("it can be loaded", lambda: loading.load(point))
    elif job["task"] == "together":
        yield Check("its names are its own", lambda: loading.load_with_all(point))
    elif job["task"] == "declared":
        yield Check("its imports are declared", lambda: declared.check_imports(point))
        yield Check("it uses the public API alone", lambda: declared.check_api(point))
    else:
        yield from _of_plugin(job)


def _of_plugin(job: Mapping[str, Any]) -> Iterator[Check]:
    kind, name = job["kind"], job["name"]
    subject = Subject(default_registry().make(kind, name), job["settings"])
    contract = CONTRACTS[kind]()
    for test in _tests_of(type(contract)):
        yield Check(words_of(test), _calling(contract, test, subject))
    for title, action in behaviour.checks_of(kind, subject):
        yield Check(title, action)


def _tests_of(contract: type) -> list[str]:
    """Names of a contract's tests, those of its base first, in the order of their definition."""
    tests: dict[str, None] = {}
    for base in reversed(contract.__mro__):
        tests.update(dict.fromkeys(name for name in vars(base) if name.startswith("test_")))
    return list(tests)


def words_of(test: str) -> str:
    """``test_its_options_are_declared_well`` as words."""
    return test.removeprefix("test_").replace("_", " ")


def _calling(contract: object, test: str, subject: Subject[Any]) -> Action:
    method = getattr(contract, test)

    def call() -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory(prefix="joulebench-check-") as folder:
            arguments = {"plugin": subject, "tmp_path": Path(folder)}
            method(**{name: arguments[name] for name in inspect.signature(method).parameters})
        return {}

    return call


def run(check: Check) -> EndedCheck:
    """Do a check; how it ended, as the parent is told it."""
    start = time.monotonic()
    printed = _printed_bytes()
    try:
        ended = EndedCheck(check.name, "ok", facts=dict(check.action()))
    except SkippedError as error:
        ended = EndedCheck(check.name, "skipped", what=str(error))
    except BrokenContractError as error:
        ended = EndedCheck(check.name, "fault", what=error.what, advice=error.advice)
    except JoulebenchError as error:
        where = "" if error.where is None else f"{error.where}: "
        ended = EndedCheck(check.name, "fault", what=where + error.what, advice=error.hint or "")
    except (Exception, SystemExit) as error:
        advice = "what its user can mend is a JoulebenchError with a hint; anything else is a bug"
        ended = EndedCheck(check.name, "fault", what=describe_failure(error), advice=advice)
    return replace(ended, seconds=time.monotonic() - start, printed=_printed_since(printed))


def _printed_bytes() -> int:
    """Length of what was written to standard output, which is a file of the parent's."""
    sys.stdout.flush()
    return os.fstat(1).st_size


def _printed_since(start: int) -> str:
    length = _printed_bytes() - start
    return os.pread(1, min(length, _SHOWN), start).decode(errors="replace") if length > 0 else ""


def serve(job: Mapping[str, Any], report: IO[str]) -> None:
    """Do the job's checks but those that were done already, and tell of each."""

    def tell(**message: object) -> None:
        report.write(json.dumps(message, default=str) + "\n")
        report.flush()

    faulthandler.enable()  # a crash says where it was
    tell(begin=_MADE)
    checks = list(checks_of(job))
    tell(**asdict(EndedCheck(_MADE, "ok")))
    for check in checks:
        if check.name not in job["done"]:
            tell(begin=check.name)
            # A hang says where it was, before the parent ends it.
            faulthandler.dump_traceback_later(_SHARE * job["limit_s"])
            ended = run(check)
            faulthandler.cancel_dump_traceback_later()
            tell(**asdict(ended))
    tell(finished=True)


def main() -> None:
    """Take the job, keep the report apart from standard output, serve."""
    report = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    job = json.loads(sys.stdin.readline())
    try:
        serve(job, report)
    except JoulebenchError as error:
        ended = EndedCheck(_MADE, "fault", what=error.what, advice=error.hint or "")
        report.write(json.dumps(asdict(ended)) + "\n" + json.dumps({"finished": True}) + "\n")
        report.flush()
    os._exit(0)  # threads that the plugin has left must not hold the process


if __name__ == "__main__":
    main()
