from __future__ import annotations

import time
from pathlib import Path

import pytest
from probe_reading import imported_alone, settings

from joulebench.api import Availability, Channel
from joulebench.meter.live.channels import source_spec
from joulebench.meter.live.sampler import edge_reader
from joulebench_plugins.perf import PerfProbe
from joulebench_plugins.perf.events import Event, find_event, parse_cpus
from joulebench_plugins.perf.reader import opening_fault

PROBE = PerfProbe()
#: PERF_TYPE_SOFTWARE and PERF_COUNT_SW_CPU_CLOCK (perf_event.h): nanoseconds, on any machine.
SOFTWARE, CPU_CLOCK = 1, 0


def event_source(
    root: Path,
    *,
    unit_type: int = 24,
    terms: str = "event=0x02",
    scale: str = "2.3283064365386962890625e-10",
    unit: str = "Joules",
    cpus: str = "0,28",
) -> Path:
    """The unit ``power`` as the kernel shows it (a dual-socket Xeon)."""
    folder = root / "power"
    (folder / "events").mkdir(parents=True)
    (folder / "format").mkdir()
    (folder / "type").write_text(f"{unit_type}\n")
    (folder / "cpumask").write_text(f"{cpus}\n")
    (folder / "format/event").write_text("config:0-7\n")
    (folder / "format/umask").write_text("config:8-15\n")
    (folder / "events/energy-pkg").write_text(f"{terms}\n")
    (folder / "events/energy-pkg.scale").write_text(f"{scale}\n")
    (folder / "events/energy-pkg.unit").write_text(f"{unit}\n")
    return root


def inspect(root: Path) -> Availability:
    return PROBE.inspect(settings(PROBE.options, root=str(root)))


def channels(root: Path) -> tuple[Channel, ...]:
    return PROBE.channels(settings(PROBE.options, root=str(root)))


def test_an_event_is_read_with_its_type_configuration_scale_and_cpus(tmp_path: Path) -> None:
    event = find_event(event_source(tmp_path), "energy-pkg")
    assert event == Event("energy-pkg", tmp_path / "power", 24, 0x02, 2.0**-32, (0, 28))


def test_terms_are_placed_where_their_format_says(tmp_path: Path) -> None:
    event = find_event(event_source(tmp_path, terms="event=0x02,umask=0x1f"), "energy-pkg")
    assert isinstance(event, Event)
    assert event.config == 0x1F02


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"unit": "Watts"}, "not Joules"),
        ({"scale": "0"}, "scale"),
        ({"cpus": ""}, "names no CPU"),
        ({"terms": "event=0x100"}, "does not fit"),
        ({"terms": "event=two"}, "cannot be understood"),
    ],
)
def test_a_unit_that_makes_no_sense_is_refused_with_the_reason(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    report = inspect(event_source(tmp_path, **given))  # type: ignore[arg-type]
    assert not report.ok
    assert said in (report.reason or "")


def test_an_unknown_event_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    chosen = settings(PROBE.options, root=str(event_source(tmp_path)), event="energy-psys")
    assert "it has: energy-pkg" in (PROBE.inspect(chosen).reason or "")


def test_cpu_lists_are_read_as_the_kernel_writes_them() -> None:
    assert parse_cpus("0,28-30\n") == (0, 28, 29, 30)


def test_each_package_has_a_power_gauge_that_is_not_added_to_a_total(tmp_path: Path) -> None:
    result = channels(event_source(tmp_path))
    assert [entry.path for entry in result] == ["perf/energy-pkg/0", "perf/energy-pkg/1"]
    assert {(entry.quantity, entry.kind, entry.counted) for entry in result} == {("power", "gauge", False)}


def test_a_tree_on_a_disk_is_simulated(tmp_path: Path) -> None:
    assert {channel.provenance for channel in channels(event_source(tmp_path))} == {"simulated"}


@pytest.mark.skipif(Path("/sys/bus/event_source/devices/power").exists(), reason="this machine has the unit")
def test_a_machine_without_the_unit_gets_reason_and_cure() -> None:
    report = PROBE.inspect(settings(PROBE.options))
    assert not report.ok
    assert "/sys/bus/event_source/devices/power does not exist" in (report.reason or "")
    assert "modprobe rapl" in (report.cure or "")


def test_an_event_that_the_kernel_does_not_know_is_refused(tmp_path: Path) -> None:
    report = inspect(event_source(tmp_path, unit_type=2**31 - 5))
    assert not report.ok
    assert "perf_event_open" in (report.reason or "")


def test_the_reader_gives_the_mean_power_of_a_real_kernel_counter(tmp_path: Path) -> None:
    # The kernel's CPU clock counts 1e9 a second: at 1 nJ a count it "draws" exactly 1 W.
    fault = opening_fault(f"{SOFTWARE}:{CPU_CLOCK}:0:1e-9")
    if fault is not None:
        pytest.skip(f"{fault[0]}")
    root = event_source(tmp_path, unit_type=SOFTWARE, terms="event=0", scale="1e-9", cpus="0")
    assert inspect(root).ok
    (channel,) = channels(root)
    read = edge_reader([source_spec(0, channel.source, None)])
    for wait_s in (0.0, 0.1):  # at once as well: an idle baseline of one look had no figure
        time.sleep(wait_s)
        (raw,) = read()
        assert raw is not None
        assert raw * channel.scale == pytest.approx(1.0, rel=0.1)


def test_the_reader_needs_the_standard_library_only() -> None:
    assert imported_alone("joulebench_plugins.perf.reader") == set()
