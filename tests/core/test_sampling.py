"""The sampler process, from its parent's side: pace, pauses, faults, losses, cost."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toyrun import EXAMPLE_PLUGIN, cpu_ticks_of, state_of, until

from joulebench.api import Channel, FileSource, ReaderSource
from joulebench.errors import UnavailableError
from joulebench.meter.live import sampler, sampling
from joulebench.meter.live.sampler import item_of
from joulebench.meter.live.sampling import Drained, ObserverTax, Sampler
from joulebench.testing.livefiles import NumberFile

#: Of a channel here, and how long a pause is.
RATE_HZ, PAUSE_S = 100.0, 1.0


def channel(source: FileSource | ReaderSource, rate_hz: float = RATE_HZ) -> Channel:
    return Channel("test/one", "memory", "bytes", "gauge", source, 1.0, "simulated", "process", rate_hz=rate_hz)


@pytest.fixture
def number(tmp_path: Path) -> Iterator[NumberFile]:
    file = NumberFile(tmp_path / "number", 7)
    yield file
    file.close()


def source(number: NumberFile) -> FileSource:
    return FileSource(str(number.path))


def _sampled(sampler: Sampler, count: int) -> Drained:
    drained = Drained()

    def enough() -> bool:
        drained.extend(sampler.drain())
        return len(drained.raw) >= count

    until(enough, f"{count} samples")
    return drained


def _tax(sampler: Sampler) -> ObserverTax:
    sampler.drain()
    return sampler.tax()


def _accounted(tax: ObserverTax) -> float:
    """Deadlines that were served or missed, less those that the time has had."""
    return tax.ticks + tax.missed - tax.wall_s * RATE_HZ


def test_every_deadline_is_either_served_or_counted_as_missed(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 60)
        # A deadline that passes while other work holds the processor is counted at the next tick.
        until(lambda: abs(_accounted(_tax(sampler))) <= 4, "all deadlines")
        tax = _tax(sampler)
    rate = tax.rate_hz()
    assert rate is not None
    assert rate == pytest.approx(tax.ticks / tax.wall_s)
    print(f"rate {rate:.1f} Hz, missed {tax.missed}, late p99 {tax.late_p99_s()} s")


def test_samples_carry_the_values_and_times_of_their_reading(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        begin = time.perf_counter_ns()
        first = _sampled(sampler, 5)
        number.write(8)
        changed = time.perf_counter_ns()
        later = _sampled(sampler, 5)
    assert set(first.raw) == {7}
    assert set(later.raw) <= {7, 8}
    assert all(raw == 8 for t, raw in zip(later.t_ns, later.raw, strict=True) if t > changed)
    times = first.t_ns + later.t_ns
    assert times == sorted(times)
    assert times[-1] > begin


def test_a_lateness_is_recorded_for_each_tick(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 20)
        sampler.stop()
        sampler.drain()
        tax = sampler.tax()
    assert len(tax.lateness_ns) >= tax.ticks
    assert any(tax.lateness_ns), "no tick is on time to the nanosecond"
    late = tax.late_p99_s()
    assert late is not None
    assert late >= sorted(tax.lateness_ns)[len(tax.lateness_ns) // 2] * 1e-9


def test_the_rate_is_that_of_the_fastest_channel_alone(number: NumberFile) -> None:
    channels = [channel(source(number), 40.0), replace(channel(source(number), 27.0), path="t/two")]
    with Sampler(channels, None) as sampler:
        _sampled(sampler, 40)
        tax = _tax(sampler)
    assert tax.ticks <= tax.wall_s * 40 + 2


def test_ticks_are_missed_when_somebody_else_stops_the_sampler(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 5)
        before = _tax(sampler).missed
        os.kill(sampler.pid, signal.SIGSTOP)
        time.sleep(0.4)
        os.kill(sampler.pid, signal.SIGCONT)
        _sampled(sampler, 5)
        assert _tax(sampler).missed - before >= 35


def test_ticks_of_a_sampler_that_was_stopped_until_its_pause_are_missed_too(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 5)
        before = _tax(sampler).missed
        os.kill(sampler.pid, signal.SIGSTOP)
        time.sleep(0.4)
        sampler.pause()
        time.sleep(0.3)
        os.kill(sampler.pid, signal.SIGCONT)
        sampler.resume()
        sampler.await_tick()
        assert 35 <= _tax(sampler).missed - before < 60


def test_ticks_of_a_sampler_that_is_stopped_to_the_end_are_missed_too(number: NumberFile) -> None:
    sampler = Sampler([channel(source(number))], None)
    _sampled(sampler, 5)
    before = _tax(sampler).missed
    os.kill(sampler.pid, signal.SIGSTOP)
    time.sleep(0.4)
    sampler.stop()
    assert 35 <= _tax(sampler).missed - before < 60


def test_a_sampler_has_no_file_that_a_killed_run_could_leave_behind(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        mapped = Path(f"/proc/{sampler.pid}/maps").read_text()
        assert "/memfd:joulebench-ring (deleted)" in mapped
        assert not list(Path("/dev/shm").glob("joulebench*"))


def test_a_machine_without_memory_for_the_ring_is_told_so_and_not_by_sigbus(
    number: NumberFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int, _start: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UnavailableError, match="no memory for the sampler: No space left"):
        Sampler([channel(source(number))], None)


def test_a_pause_counts_no_missed_tick_and_no_time(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 5)
        sampler.pause()
        before = replace(_tax(sampler))
        time.sleep(PAUSE_S)
        sampler.resume()
        sampler.await_tick()
        after = _tax(sampler)
        # Beside other work the first tick may be late; all of the pause it is not.
        assert after.missed - before.missed < 0.9 * PAUSE_S * RATE_HZ
        assert after.wall_s - before.wall_s < 0.9 * PAUSE_S


def _switches(sampler: Sampler) -> list[str]:
    """How often its process has been given a processor and lost it."""
    status = Path(f"/proc/{sampler.pid}/status").read_text("utf-8")
    return [line for line in status.splitlines() if "ctxt_switches" in line]


def _at_rest(sampler: Sampler) -> list[str]:
    """Wait until a paused sampler has had its last tick, and take what it has; its switches then."""

    def rests() -> bool:
        before = _switches(sampler)
        time.sleep(0.05)
        return state_of(sampler.pid) == "S" and _switches(sampler) == before

    until(rests, "its rest")
    sampler.drain()
    return _switches(sampler)


def test_a_paused_sampler_rests_without_a_wake_up(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 5)
        sampler.pause()
        switches = _at_rest(sampler)
        time.sleep(0.2)
        assert _switches(sampler) == switches
        assert not sampler.drain().raw
        assert state_of(sampler.pid) == "S"


def test_after_a_resume_the_first_sample_is_there_before_the_caller_goes_on(number: NumberFile) -> None:
    slow = replace(channel(source(number), 2.0), path="test/slow")
    with Sampler([channel(source(number)), slow], None) as sampler:
        sampler.await_tick()
        sampler.pause()
        _at_rest(sampler)
        begin = time.perf_counter_ns()
        sampler.resume()
        sampler.await_tick()
        drained = sampler.drain()
        assert set(drained.channel) == {0, 1}
        assert min(drained.t_ns) >= begin


def test_records_that_the_ring_could_not_hold_are_counted_as_lost(number: NumberFile) -> None:
    with Sampler([channel(source(number), 500.0)], None, capacity=32) as sampler:
        until(lambda: sampler.tax().ticks >= 60, "60 ticks")
        sampler.stop()
        drained = sampler.drain()
    kept = len(drained.raw) + len(drained.lateness_ns)
    assert kept <= 32
    assert drained.lost > 0
    # A record of lateness a tick and a sample a tick, all accounted for.
    assert kept + drained.lost == pytest.approx(2 * sampler.tax().ticks, abs=2)


def test_a_source_that_fails_is_a_fault_once_an_outage(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 3)
        os.truncate(number.path, 0)
        faults: list[tuple[int, int]] = []
        until(lambda: faults.extend(sampler.drain().faults) or faults, "a fault")
        time.sleep(0.05)
        assert not sampler.drain().faults
        number.write(9)
        assert 9 in _sampled(sampler, 3).raw
        os.truncate(number.path, 0)
        until(lambda: sampler.drain().faults, "the second fault")
    assert faults[0][1] == 0


def test_a_file_that_is_not_there_is_a_fault_and_no_reason_to_stop(number: NumberFile, tmp_path: Path) -> None:
    gone = replace(channel(FileSource(str(tmp_path / "gone"))), path="test/gone")
    with Sampler([channel(source(number)), gone], None) as sampler:
        drained = _sampled(sampler, 3)
    assert set(drained.channel) == {0}
    assert [index for _, index in drained.faults] == [1]


@pytest.fixture
def toy_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE_PLUGIN))
    assert str(EXAMPLE_PLUGIN) in sys.path


@pytest.mark.usefixtures("toy_readers")
def test_a_reader_that_gives_too_few_items_is_a_fault(number: NumberFile) -> None:
    short = replace(channel(ReaderSource("joulebench_toy.reader:Short", "")), path="toy/short")
    with Sampler([channel(source(number)), short], None) as sampler:
        drained = _sampled(sampler, 5)
        assert sampler.alive
    assert [index for _, index in drained.faults] == [1]


class _Blocking:
    def read(self) -> list[int]:
        time.sleep(0.05)
        return [1]


def test_a_reader_that_blocks_is_named_and_rests_while_the_others_are_read() -> None:
    group = sampler.Group(10_000_000, [])
    group._objects.append((_Blocking(), [(7, 0)]))
    slow: list[tuple[int, int | None, int]] = []
    readings: list[int] = []
    start = time.monotonic()
    for _ in range(20):
        group.read(lambda _t, _raw, channel, _own: readings.append(channel), lambda *reading: slow.append(reading))
        time.sleep(0.01)
    took_s = time.monotonic() - start
    assert {channel for _, _, channel in slow} == {7}
    assert all(took_ns is not None and took_ns >= 50_000_000 for _, took_ns, _ in slow)
    assert len(readings) <= 3 + took_s / 1.0  # then one in 21 times 50 ms, where there were twenty ticks


@pytest.mark.parametrize("value", [2.5, True, "7", 1 << 70])
def test_what_is_no_whole_number_is_no_reading(value: object) -> None:
    assert item_of([value], 0) is None  # type: ignore[list-item]
    assert item_of([5], 0) == 5


@pytest.mark.usefixtures("toy_readers")
def test_a_reader_module_is_read_in_the_sampler(number: NumberFile) -> None:
    with Sampler([channel(ReaderSource("joulebench_toy.reader:Gauge", "1234"))], None) as sampler:
        assert set(_sampled(sampler, 5).raw) == {1234}


@pytest.mark.usefixtures("toy_readers")
def test_a_sampler_that_dies_at_its_start_is_an_error_with_a_reason() -> None:
    with pytest.raises(UnavailableError, match="did not start"):
        Sampler([channel(ReaderSource("joulebench_toy.reader:Exits", ""))], None)


def test_a_sampler_that_was_killed_can_still_be_drained_and_stopped(number: NumberFile) -> None:
    with Sampler([channel(source(number))], None) as sampler:
        _sampled(sampler, 3)
        until(lambda: sampler.tax().ticks >= 10, "ticks")
        os.kill(sampler.pid, signal.SIGKILL)
        until(lambda: not sampler.alive, "its end")
        sampler.drain()
        sampler.pause()
        sampler.resume()
        sampler.await_tick()
    assert sampler.tax().ticks >= 10


def test_the_sampler_is_small_and_cheap(number: NumberFile) -> None:
    channels = [replace(channel(source(number)), path=f"test/{index}") for index in range(6)]
    with Sampler(channels, None) as sampler:
        until(lambda: _tax(sampler).ticks >= 100, "100 ticks")
        status = Path(f"/proc/{sampler.pid}/status").read_text()
        tax, ticks = _tax(sampler), cpu_ticks_of(sampler.pid)
    rss_kib = int(status.split("VmRSS:")[1].split()[0])
    anonymous_kib = int(status.split("RssAnon:")[1].split()[0])
    assert tax.cpu_s is not None
    assert tax.cpu_s == pytest.approx(ticks / 100, abs=0.03)
    share = tax.cpu_s / tax.wall_s
    print(f"RSS {rss_kib} KiB (anonymous {anonymous_kib}), start and {share:.2%} of a core")
    assert rss_kib < 16 * 1024


def test_a_sampler_whose_parent_was_killed_before_it_ran_ends_at_its_first_tick(
    number: NumberFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as gone:
        gone.setattr(sampling.os, "getpid", lambda: 1)  # the parent that it is told is not the one that it has
        with Sampler([channel(source(number))], None) as left:
            until(lambda: not left.alive, "the end of the sampler")
