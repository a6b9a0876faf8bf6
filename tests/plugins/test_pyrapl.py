from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from probe_reading import settings
from sysfs_in_place import in_place_of_sysfs

from joulebench.testing.powercap import FakePowercap, intel_zones
from joulebench_plugins.pyrapl import PyRaplProbe

PROBE = PyRaplProbe()
installed = pytest.mark.skipif(importlib.util.find_spec("pyRAPL") is None, reason="pyRAPL is not installed")

#: pyRAPL has its path built in, so the tree is put there in a mount namespace of its own.
CROSS_CHECK = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from joulebench.meter.live.channels import source_spec
from joulebench.meter.live.sampler import edge_reader
from joulebench_plugins.pyrapl import PyRaplProbe
from joulebench_plugins.rapl import RaplProbe

from joulebench.meter.live.crosscheck import cross_check, pairs

found, everything = {}, []
for probe, given in ((RaplProbe(), {"root": "/sys/class/powercap"}),
                     (PyRaplProbe(), {"enabled": True})):
    availability = probe.inspect(given)
    assert availability.ok, availability
    channels = probe.channels(given)
    everything += channels
    values = edge_reader([source_spec(n, c.source, None) for n, c in enumerate(channels)])()
    for channel, raw in zip(channels, values):
        found[channel.path] = [raw, channel.wraps_at, channel.counted, channel.provenance]
import logging
checks = [cross_check(*pair, 0.5) for pair in pairs(everything)]
print(json.dumps([found, len(logging.getLogger().handlers),
                  [[each.first, each.second, each.agrees] for each in checks]]))
"""


def read_by_both(folder: Path) -> list[object]:
    """What both probes find where the folder stands for /sys/class."""
    command = in_place_of_sysfs(folder, [sys.executable, "-c", CROSS_CHECK, json.dumps(sys.path)])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document: list[object] = json.loads(done.stdout)
    return document


def test_it_is_off_until_it_is_asked_for() -> None:
    report = PROBE.inspect(settings(PROBE.options))
    assert not report.ok
    assert report.cure == "[probe.pyrapl] enabled = true"


@installed
@pytest.mark.skipif(Path("/sys/class/powercap/intel-rapl").exists(), reason="there is RAPL here")
def test_a_machine_without_rapl_gets_a_reason() -> None:
    report = PROBE.inspect(settings(PROBE.options, enabled=True))
    assert not report.ok
    assert "pyRAPL finds no RAPL" in (report.reason or "")
    assert report.cure


@installed
def test_pyrapl_and_the_probe_rapl_read_the_same_counters(tmp_path: Path) -> None:
    (tmp_path / "powercap").mkdir()
    with FakePowercap(tmp_path / "powercap", intel_zones(), layout="nested") as tree:
        tree.advance(3.0)
        reading, handlers, checks = read_by_both(tmp_path)
    assert isinstance(checks, list)
    assert all(agrees is None for _, _, agrees in checks), "nothing is counted meanwhile"
    assert isinstance(reading, dict)
    package, dram = reading["pyrapl/package-0"], reading["pyrapl/dram-0"]
    assert package[:2] == reading["rapl/package-0"][:2]
    assert dram[:2] == reading["rapl/package-0/dram"][:2]
    assert package[2:] == dram[2:] == [False, "simulated"]
    assert handlers == 0, "importing pyRAPL has configured the root logger"


@installed
def test_a_sandwich_of_both_probes_agrees_on_a_live_counter(tmp_path: Path) -> None:
    (tmp_path / "powercap").mkdir()
    zones = intel_zones(max_range_uj=4_000_000)
    with FakePowercap(tmp_path / "powercap", zones, layout="nested") as tree, tree.live():
        _, _, checks = read_by_both(tmp_path)
    assert checks == [["rapl/package-0", "pyrapl/package-0", True], ["rapl/package-0/dram", "pyrapl/dram-0", True]]
