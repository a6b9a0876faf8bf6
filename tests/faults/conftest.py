"""Fixtures of the fault kit: runs of the toy runtime, as the tests of the core have them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_CORE = Path(__file__).parents[1] / "core"
sys.path.insert(0, str(_CORE))  # toyrun
_spec = importlib.util.spec_from_file_location("core_fixtures", _CORE / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

toy_environment = _fixtures.toy_environment
bench = _fixtures.bench
