"""In the child: what a distribution's modules import, against what it declares that it needs."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from joulebench.pluginkit.loading import entry_point
from joulebench.testing.contracts import BrokenContractError, SkippedError

#: What of joulebench a plugin may import: everything else may change at any time.
PUBLIC: Final = (
    "api",
    "backendkit",
    "checkpoint",
    "errors",
    "hookspecs",
    "reportkit",
    "session",
    "testing",
    "weightkit",
)
#: Of these the package itself is public, and none of its modules.
_FACADES: Final = ("session",)
_OWN: Final = "joulebench"


def check_imports(name: str) -> Mapping[str, Any]:
    """Every module that is imported must come from a distribution that is required."""
    point = entry_point(name)
    distribution = _installed(point)
    required = {_canonical(requirement) for requirement in _requirements(distribution)}
    required.add(_canonical(distribution.name))
    package = point.module.partition(".")[0]
    owners = metadata.packages_distributions()
    lacking = required - {_canonical(owner) for listed in owners.values() for owner in listed}
    undeclared: dict[str, str] = {}
    for module, where in _imports(package):
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == package:
            continue
        if top not in owners and lacking:
            continue  # it may come from what is required and not installed here
        sources = {_canonical(owner) for owner in owners.get(top, [top])}
        if not sources & required:
            undeclared.setdefault(" or ".join(sorted(sources)), f"{top} ({where})")
    if undeclared:
        listed = ", ".join(sorted(undeclared.values()))
        raise BrokenContractError(
            f"it imports what '{distribution.name}' does not require: {listed}",
            f"add to dependencies (or to an extra): {', '.join(sorted(undeclared))}",
        )
    return {"required": sorted(required)}


def check_api(name: str) -> Mapping[str, Any]:
    """Of joulebench, only the public modules."""
    point = entry_point(name)
    if _canonical(_installed(point).name) == _OWN:
        raise SkippedError("it is shipped with joulebench")
    private = [
        f"{module} ({where})"
        for module, where in _imports(point.module.partition(".")[0])
        if module.partition(".")[0] == _OWN and not is_public(module)
    ]
    if private:
        raise BrokenContractError(
            f"it imports from joulebench's inside: {', '.join(sorted(set(private)))}",
            f"import from {', '.join(f'joulebench.{module}' for module in PUBLIC)} only: everything "
            "else may change at any time",
        )
    return {}


def is_public(module: str) -> bool:
    """Whether a plugin may import this module of joulebench's."""
    _, _, rest = module.partition(".")
    top, _, inner = rest.partition(".")
    return not rest or (top in PUBLIC and not (inner and top in _FACADES))


def _installed(point: metadata.EntryPoint) -> metadata.Distribution:
    if point.dist is None:
        raise SkippedError("nothing is known of its distribution")
    return point.dist


def _requirements(distribution: metadata.Distribution) -> Iterator[str]:
    """Names of the distributions that it requires, in any of its extras."""
    for line in distribution.requires or []:
        match = re.match(r"[A-Za-z0-9._-]+", line.strip())
        if match:
            yield match[0]


def _canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(package: str) -> Iterator[tuple[str, str]]:
    """(module, file:line) of every import in a package, but for those that no run executes."""
    for file in _files(package):
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        for node in _executed(tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield name.name, f"{file.name}:{node.lineno}"
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from _from(node, file)


def _from(node: ast.ImportFrom, file: Path) -> Iterator[tuple[str, str]]:
    """``from joulebench import api`` names a module of its own."""
    where = f"{file.name}:{node.lineno}"
    if node.module == _OWN:
        for name in node.names:
            inside = importlib.util.find_spec(f"{_OWN}.{name.name}") is not None
            yield (f"{_OWN}.{name.name}" if inside else _OWN), where
    elif node.module:
        yield node.module, where


def _files(package: str) -> list[Path]:
    """The Python files of a package, or the one file of a module."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SkippedError(f"the files of '{package}' are not to be found")
    if spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations)))
        return sorted(folder.rglob("*.py"))
    return [Path(spec.origin)]


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, without what stands under ``if TYPE_CHECKING`` or may fail by ImportError."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                yield statement
                yield from _executed(statement)
            continue
        if isinstance(node, ast.Try) and _survives_import(node):
            for statement in [*node.orelse, *node.finalbody]:
                yield from _executed(statement)
            continue
        yield node
        yield from _executed(node)


def _survives_import(node: ast.Try) -> bool:
    caught = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type is not None)
    return "ImportError" in caught or "ModuleNotFoundError" in caught
