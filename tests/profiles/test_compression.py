"""The shipped profile ``compression``: every technique has something to be held against."""

from __future__ import annotations

from joulebench.models.catalogue import read_catalogue
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import read_profile
from joulebench.profile.shipped import find_profile
from joulebench.registry.loading import default_registry


def test_every_compressed_cell_has_the_uncompressed_one_on_its_backend() -> None:
    registry = default_registry()
    folders = registry.profile_dirs()
    profile = read_profile(find_profile("compression", folders))
    cells = make_plan(profile, registry, read_catalogue(folders), folders).cells
    techniques = {cell.technique for cell in cells}
    assert len(techniques - {"none"}) >= 11
    bare = {(cell.backend, cell.device, cell.workload) for cell in cells if cell.technique == "none"}
    assert {(cell.backend, cell.device, cell.workload) for cell in cells} == bare
    assert {backend for backend, _, _ in bare} == {"torch", "llamacpp", "onnx"}
    # What is missing here is an extra, never a technique that does not fit its backend.
    reasons = {cell.reason for cell in cells if not cell.runnable}
    assert all("not installed" in str(reason) for reason in reasons)
