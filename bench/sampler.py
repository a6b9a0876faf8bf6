"""What the sampler costs and how well it keeps time, on an idle machine and on a busy one.

At its defaults: a package's energy at 100 Hz beside the memory and CPU channels of this machine
at 10 Hz, with a fake powercap tree where there is no real one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from joulebench.meter.live.sampling import Sampler
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry
from joulebench.sensors.probing import ProbeChoices, inspect_probes
from joulebench.testing.powercap import FakePowercap, intel_zones

SECONDS = 20.0
PROFILE = "version = 1\n[model.none]\n[backend.none]\n[workload.none]\n"


@contextlib.contextmanager
def powercap() -> Iterator[list[str]]:
    """Overrides that give the RAPL probe something to read."""
    if Path("/sys/class/powercap/intel-rapl:0/energy_uj").exists():
        yield []
        return
    with tempfile.TemporaryDirectory() as folder:
        # Its counter stands still here: a live one would compete with what is measured.
        tree = FakePowercap(Path(folder), intel_zones(dram_watts=None, core_watts=None))
        yield [f'probe.rapl.root="{tree.root}"']


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Every processor kept busy."""
    spin = [sys.executable, "-c", "while True: pass"]
    spinners = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def measure(label: str, overrides: list[str]) -> None:
    profile = parse_profile(PROFILE, "bench", Path.cwd(), overrides)
    channels = inspect_probes(default_registry(), ProbeChoices.of_profile(profile)).channels
    with Sampler(channels, os.getpid()) as sampler:
        time.sleep(1.0)  # its start is not its cost
        before = sampler.tax()
        start_cpu_s, start_wall_s = before.cpu_s, before.wall_s
        ticks, missed = before.ticks, before.missed
        sampler.drain()
        before.lateness_ns.clear()
        time.sleep(SECONDS)
        sampler.drain()
        after = sampler.tax()
        resident = Path(f"/proc/{sampler.pid}/statm").read_text(encoding="ascii").split()[1]
        late_ms = sorted(late_ns * 1e-6 for late_ns in after.lateness_ns)
        wall_s = after.wall_s - start_wall_s
        print(
            f"{label:5} {len(channels)} channels, {(after.ticks - ticks) / wall_s:.1f} ticks/s: "
            f"{100 * (after.cpu_s - start_cpu_s) / wall_s:.2f} % of a core, "
            f"{after.missed - missed} missed, late p50 {late_ms[len(late_ms) // 2]:.3f} ms, "
            f"p99 {late_ms[int(0.99 * len(late_ms))]:.3f} ms, "
            f"{int(resident) * os.sysconf('SC_PAGE_SIZE') / 2**20:.1f} MiB resident"
        )


def main() -> None:
    with powercap() as overrides:
        measure("idle", overrides)
        with busy():
            measure("busy", overrides)


if __name__ == "__main__":
    main()
