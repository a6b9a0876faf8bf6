from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from joulebench.testing import stub_nvml
from joulebench.testing.stub_nvml import FUNCTION_NOT_FOUND, GPU_IS_LOST, NO_PERMISSION, NOT_SUPPORTED, StubGpus
from joulebench_plugins.nvml import NvmlProbe

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pynvml") is None, reason="needs nvidia-ml-py (extra nvml)"),
    pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"),
]

#: The probe in a process of its own, since a process loads one NVML and keeps it.
SCRIPT = """
import dataclasses, json, sys
sys.path[:] = json.loads(sys.argv[1])
from joulebench_plugins.nvml import NvmlProbe
from joulebench.meter.live.channels import source_spec
from joulebench.meter.live.sampler import edge_reader
settings = {"devices": sys.argv[2]}
probe = NvmlProbe()
found = probe.inspect(settings)
channels = probe.channels(settings) if found.ok else ()
reader = edge_reader([source_spec(n, c.source, None) for n, c in enumerate(channels)])
def values():
    return {c.path: raw for c, raw in zip(channels, reader(), strict=True)}
first = values()
if len(sys.argv) > 3:
    exec(sys.argv[3])
print(json.dumps({
    "inspect": dataclasses.asdict(found),
    "channels": {c.path: dataclasses.asdict(c) for c in channels},
    "first": first, "last": values(),
}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stub_nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpus(library: Path) -> StubGpus:
    return StubGpus(library.parent)


def probe(environment: Mapping[str, str], devices: str = "all", between: str = "") -> dict[str, Any]:
    """What the probe says and reads, with ``between`` run between two reads."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(sys.path), devices, between]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_all_figures_of_a_gpu_are_read_in_their_units(gpus: StubGpus) -> None:
    gpus.set(watts=70.5, energy_mj=5_000_000_000_000, celsius=63, sm_mhz=1410, memory_mhz=1215)
    gpus.set(used_bytes=3e9, reserved_bytes=5e8, gpu_percent=87)
    probing = probe(gpus.environment())
    assert probing["inspect"] == {"ok": True, "reason": None, "cure": None}
    values = {
        path.removeprefix("nvml/gpu-0/"): probing["first"][path] * channel["scale"]
        for path, channel in probing["channels"].items()
    }
    assert values == {
        "energy": pytest.approx(5e9),
        "power": pytest.approx(70.5),
        "temperature": 63,
        "sm_clock": 1.41e9,
        "memory_clock": 1.215e9,
        "slowdown": 0,
        "memory_used": 3e9,
        "utilization": pytest.approx(0.87),
    }


def test_the_counter_is_the_total_and_the_gauge_beside_it_is_not(gpus: StubGpus) -> None:
    channels = probe(gpus.environment())["channels"]
    counted = [path for path, channel in channels.items() if channel["counted"]]
    assert [path for path in counted if path.endswith(("energy", "power"))] == ["nvml/gpu-0/energy"]


def test_without_a_counter_the_gauge_is_the_total_and_the_reason_is_said(gpus: StubGpus) -> None:
    gpus.fail("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    probing = probe(gpus.environment())
    assert "nvml/gpu-0/energy" not in probing["channels"]
    power = probing["channels"]["nvml/gpu-0/power"]
    assert power["counted"]
    assert power["kind"] == "gauge"
    assert "energy: Not Supported" in probing["inspect"]["reason"]


def test_the_gauge_carries_five_percent_as_a_rectangle_and_says_how_it_averages(gpus: StubGpus) -> None:
    power = probe(gpus.environment())["channels"]["nvml/gpu-0/power"]
    assert power["relative_uncertainty"] == pytest.approx(0.05 / math.sqrt(3))
    assert "25 of every 100 ms" in power["note"]


def test_energy_is_asked_for_alone_so_that_window_edges_wait_for_nothing_else(gpus: StubGpus) -> None:
    channels = probe(gpus.environment())["channels"]
    arguments = {path: channel["source"]["argument"] for path, channel in channels.items()}
    assert arguments["nvml/gpu-0/energy"] == "0:energy"
    state = [path for path in channels if not path.endswith(("energy", "power"))]
    assert len({arguments[path] for path in state}) == 1


def test_the_energy_counter_grows_with_the_power(gpus: StubGpus) -> None:
    gpus.set(watts=1000.0, energy_mj=7, update_ms=1)
    gpus.count_from_now()
    start = time.monotonic()
    probing = probe(gpus.environment(), between="import time; time.sleep(0.1)")
    most_s = time.monotonic() - start
    grown_j = (probing["last"]["nvml/gpu-0/energy"] - probing["first"]["nvml/gpu-0/energy"]) * probing["channels"][
        "nvml/gpu-0/energy"
    ]["scale"]
    assert 1000.0 * 0.099 <= grown_j <= 1000.0 * most_s


def test_with_mig_on_what_the_gpu_refuses_is_left_out_and_the_rest_is_marked(gpus: StubGpus) -> None:
    gpus.set(mig=1, energy_mj=5)
    probing = probe(gpus.environment())
    assert "nvml/gpu-0/utilization" not in probing["channels"]
    assert "MIG is on" in probing["inspect"]["reason"]
    assert "utilization: Not Supported" in probing["inspect"]["reason"]
    assert "all instances" in probing["channels"]["nvml/gpu-0/energy"]["note"]


def test_a_gpu_that_cannot_do_mig_is_read_as_any_other(gpus: StubGpus) -> None:
    gpus.set(mig=-1)
    probing = probe(gpus.environment())
    assert len(probing["channels"]) == 8
    assert "MIG" not in probing["channels"]["nvml/gpu-0/energy"]["note"]


@pytest.mark.parametrize(
    ("reasons", "shown"),
    [
        (0x000, 0),
        (0x001, 0),  # idle
        (0x002, 0),  # clocks that a user set
        (0x100, 0),  # display clock
        (0x004, 0x04),  # power cap
        (0x020 | 0x001, 0x20),  # thermal slowdown
        (0x0C8, 0xC8),  # hardware slowdowns
    ],
)
def test_only_slowdowns_count_as_throttling(gpus: StubGpus, reasons: int, shown: int) -> None:
    gpus.set(clock_reasons=reasons)
    probing = probe(gpus.environment())
    assert probing["first"]["nvml/gpu-0/slowdown"] == shown
    assert probing["channels"]["nvml/gpu-0/slowdown"]["quantity"] == "throttle"


def test_an_older_driver_is_asked_with_its_own_calls(gpus: StubGpus) -> None:
    for call in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetMemoryInfo_v2"):
        gpus.fail(call, FUNCTION_NOT_FOUND)
    gpus.set(celsius=71, clock_reasons=0x40, used_bytes=2e9)
    probing = probe(gpus.environment())
    assert probing["first"]["nvml/gpu-0/temperature"] == 71
    assert probing["first"]["nvml/gpu-0/slowdown"] == 0x40
    assert probing["first"]["nvml/gpu-0/memory_used"] == 2e9


def test_each_gpu_has_its_own_channels(gpus: StubGpus) -> None:
    gpus.set(devices=2)
    gpus.set(device=1, watts=33.0)
    gpus.fail("nvmlDeviceGetTotalEnergyConsumption", NO_PERMISSION, device=0)
    probing = probe(gpus.environment())
    assert probing["first"]["nvml/gpu-1/power"] == 33_000
    assert "nvml/gpu-1/energy" in probing["channels"]
    assert "nvml/gpu-0/energy" not in probing["channels"]
    assert "GPU 0 (Stub GPU): energy: Insufficient Permissions" in probing["inspect"]["reason"]


def test_only_the_chosen_gpus_are_read(gpus: StubGpus) -> None:
    gpus.set(devices=3)
    probing = probe(gpus.environment(), devices="2, 0")
    assert {channel["domain"] for channel in probing["channels"].values()} == {"gpu-0", "gpu-2"}


@pytest.mark.parametrize(
    ("devices", "said"), [("5", "there is no GPU 5"), ("first", "neither 'all' nor a list"), ("", "neither 'all'")]
)
def test_a_wrong_choice_of_gpus_is_explained(gpus: StubGpus, devices: str, said: str) -> None:
    report = probe(gpus.environment(), devices=devices)["inspect"]
    assert not report["ok"]
    assert said in report["reason"]
    assert report["cure"]


def test_a_gpu_that_is_lost_while_it_is_read_gives_null_and_not_zero(gpus: StubGpus) -> None:
    lose = (
        "import os; open(os.environ['JOULEBENCH_STUB_NVML'], 'a')"
        f".write('error.nvmlDeviceGetTotalEnergyConsumption {GPU_IS_LOST}\\n')"
    )
    gpus.set(energy_mj=5)
    probing = probe(gpus.environment(), between=lose)
    assert probing["first"]["nvml/gpu-0/energy"] == 5
    assert probing["last"]["nvml/gpu-0/energy"] is None
    assert probing["last"]["nvml/gpu-0/power"] is not None


def test_a_lost_gpu_does_not_hide_the_healthy_ones(gpus: StubGpus) -> None:
    gpus.set(devices=2)
    gpus.fail("nvmlDeviceGetHandleByIndex_v2", GPU_IS_LOST, device=1)
    probing = probe(gpus.environment())
    assert probing["inspect"]["ok"]
    assert "GPU 1 (no answer): all figures: GPU is lost" in probing["inspect"]["reason"]
    energy = probing["channels"]["nvml/gpu-0/energy"]
    assert energy["total_lacks"] == ["gpu-1"]
    assert "the total lacks gpu-1" in energy["note"]
    assert not [path for path in probing["channels"] if path.startswith("nvml/gpu-1")]


def test_a_library_without_a_driver_is_an_imitation_whatever_its_gpus_are_called(library: Path, tmp_path: Path) -> None:
    if any(Path(file).exists() for file in ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has NVIDIA's driver")
    (tmp_path / library.name).write_bytes(library.read_bytes().replace(b"Stub GPU", b"Real GPU"))
    channels = probe(StubGpus(tmp_path).environment())["channels"]
    assert channels["nvml/gpu-0/energy"]["note"].startswith("Real GPU")
    assert {channel["provenance"] for channel in channels.values()} == {"simulated"}


def test_the_energy_counter_errs_as_the_gauge_does_whose_sum_it_is(gpus: StubGpus) -> None:
    channels = probe(gpus.environment())["channels"]
    scale = channels["nvml/gpu-0/energy"]["relative_uncertainty"]
    assert scale == channels["nvml/gpu-0/power"]["relative_uncertainty"] > 0


def test_a_driver_that_does_not_answer_is_told_from_a_missing_one(gpus: StubGpus) -> None:
    gpus.fail("nvmlInitWithFlags", stub_nvml.DRIVER_NOT_LOADED)
    report = probe(gpus.environment())["inspect"]
    assert not report["ok"]
    assert "Driver Not Loaded" in report["reason"]
    assert "nvidia-smi" in report["cure"]


def test_a_driver_without_any_gpu_is_told(gpus: StubGpus) -> None:
    gpus.set(devices=0)
    assert "there is no GPU" in probe(gpus.environment())["inspect"]["reason"]


def test_the_sampler_imports_the_reader_without_a_model_runtime(gpus: StubGpus) -> None:
    between = "heavy = {'torch', 'numpy', 'transformers', 'pyarrow'} & set(sys.modules)\nassert not heavy, heavy"
    assert probe(gpus.environment(), between=between)["inspect"]["ok"]


def test_this_machine_has_a_gpu_that_gives_figures_or_a_reason_why_not() -> None:
    probing = probe({})
    if probing["inspect"]["ok"]:
        assert probing["channels"]
        assert all(value is not None for value in probing["first"].values())
        return
    assert "NVML does not start" in probing["inspect"]["reason"]
    assert "driver" in probing["inspect"]["cure"]


def test_importing_the_plugin_loads_no_pynvml() -> None:
    code = "import sys; sys.path[:] = eval(sys.argv[1]); import joulebench_plugins.nvml\n"
    code += "assert 'pynvml' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, repr(sys.path)], check=True)
    assert NvmlProbe().available().ok
    assert "nvidia-ml-py" in NvmlProbe().versions()
