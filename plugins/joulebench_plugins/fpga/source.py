"""Identifies the design: what was compiled, checked or synthesised is valid for one source."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path
from typing import Final

_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def source_hash() -> str:
    """A hash of the code of the design, without comments, docstrings and imports: of what the engine is.

    What the files import of each other is hashed itself, so a package may move.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for file in [here / "law.py", *sorted((here / "engine").glob("*.py"))]:
        code = _design(file.read_text(encoding="utf-8"))
        digest.update(f"{file.name}\0{code}\0".encode())
    return digest.hexdigest()


def _design(source: str) -> str:
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
