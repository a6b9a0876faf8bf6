"""A run as its user meets it: cells that fail alone, orders, stopping, skips, observers."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise

from toyrun import Bench, Done, command_of, cpu_ticks_of, state_of, until, write_toy_checkpoint

from joulebench.session import Session
from joulebench.session.upkeep import verify
from joulebench.testing.hwmon import Chip, FakeTemperatures, HwmonSensor


def test_cells_that_crash_hang_or_leak_fail_alone_with_their_cause(bench: Bench) -> None:
    profile = bench.profile(
        {
            "good": {},
            "killed": {"crash": "kill", "at": "step", "request": 5},
            "segfault": {"crash": "segfault", "at": "step", "request": 5},
            "exits": {"crash": "exit", "at": "step", "request": 6},
            "raises": {"crash": "raise", "at": "open"},
            "hangs": {"hang_s": 600.0, "at": "request", "request": 5},
            "leaks": {"allocate": "2GiB", "at": "request", "request": 5},
            "fine": {"step_s": 0.001},
        },
        limits={"block_s": 1.5, "memory": "160MiB"},
    )
    done = bench.run(profile)
    assert done.code == 1, done.errors
    for name in ("good", "fine"):
        assert (done.cell(name)["status"], done.cell(name)["blocks"]) == ("ok", 3)
    by_name = {
        name: [done.cell(name)[key] for key in ("status", "cause_kind", "signal", "exit_code")]
        for name in ("killed", "segfault", "exits", "raises", "hangs", "leaks")
    }
    assert by_name == {
        "killed": ["failed", "signal", "SIGKILL", None],
        "segfault": ["failed", "signal", "SIGSEGV", None],
        "exits": ["failed", "exit", None, 3],
        "raises": ["failed", "error", None, None],
        "hangs": ["failed", "hang", "SIGKILL", None],
        "leaks": ["failed", "memory", "SIGKILL", None],
    }
    for name in ("killed", "segfault", "exits"):
        assert "the toy goes down by" in str(done.cell(name)["stderr_tail"])
        assert name in done.output
    assert "RuntimeError: the toy was told to raise" in str(done.cell("raises")["cause"])
    assert "Traceback" in str(done.cell("raises")["stderr_tail"])
    assert "limits.memory" in str(done.cell("leaks")["cause"])
    assert "limits.block_s" in str(done.cell("hangs")["cause"])


def _order(done: Done) -> list[tuple[str, int]]:
    """Cells and their blocks in the order in which they were measured."""
    rows = sorted(done.rows("blocks"), key=lambda row: int(str(row["t0_ns"])))
    return [(str(row["cell_id"]), int(str(row["block"]))) for row in rows]


def _answers(done: Done) -> list[object]:
    return [(row["cell_id"], row["block"], row["output_tokens"]) for row in done.rows("requests")]


def test_the_seed_decides_the_order_of_blocks_and_the_prompts(bench: Bench) -> None:
    profile = bench.profile({"a": {}, "b": {}, "c": {}}, min_blocks=5, max_blocks=5)
    first = bench.run(profile, "--no-report")
    again = bench.run(profile, "--no-report")
    other = bench.run(profile, "--no-report", "--set", "protocol.seed=2")
    assert (first.code, again.code, other.code) == (0, 0, 0)
    assert _order(first) == _order(again) != _order(other)
    assert _answers(first) == _answers(again) != _answers(other)


def test_without_turns_a_cell_is_done_before_the_next_begins(bench: Bench) -> None:
    done = bench.run(bench.profile({"a": {}, "b": {}}, turns=False), "--no-report")
    order = [cell for cell, _ in _order(done)]
    assert order == sorted(order)


def test_a_worker_that_waits_for_its_turn_uses_no_processor_time(bench: Bench) -> None:
    profile = bench.profile(
        {"a": {"spin": True, "step_s": 0.1}, "b": {"spin": True, "step_s": 0.1}}, min_blocks=3, max_blocks=3
    )
    started = bench.start(profile, "--no-report")
    seen: dict[int, list[tuple[str | None, int]]] = {}
    while started.process.poll() is None:
        for pid in started.children():
            if "joulebench.worker" in command_of(pid):
                seen.setdefault(pid, []).append((state_of(pid), cpu_ticks_of(pid)))
        time.sleep(0.03)
    started.process.communicate()
    assert len(seen) == 2
    for looks in seen.values():
        waiting = [after - before for (was, before), (now, after) in pairwise(looks) if was == now == "T"]
        assert len(waiting) >= 10
        assert sum(waiting) == 0
        assert looks[-1][1] - looks[0][1] >= 10  # ticks of 10 ms: its thread does spin


def test_each_cell_is_measured_in_as_many_processes_as_the_profile_says(bench: Bench) -> None:
    profile = bench.profile({"a": {}}, processes=3, min_blocks=6, max_blocks=6)
    done = bench.run(profile, "--no-report")
    assert [row["process"] for row in done.rows("blocks")] == [0, 0, 1, 1, 2, 2]
    assert done.cell("a")["processes"] == 3
    assert "single_process" not in done.cell("a")["flags"]


def test_cells_that_cannot_be_prepared_have_a_row_with_their_cause(bench: Bench) -> None:
    refusing = write_toy_checkpoint(bench.folder / "refusing", toy_refuses="not this one")
    profile = bench.profile(
        {"here": {}, "elsewhere": {"device": "nowhere"}},
        models={"tiny": "path:model", "odd": f"path:{refusing}", "away": "hf:nobody/nothing@0"},
    )
    done = bench.run(profile, "--no-report")
    rows = {(row["model"], row["backend"]): row for row in done.session.cells().to_pylist()}
    by_name = {key: (row["status"], row["cause_kind"]) for key, row in rows.items()}
    assert by_name == {
        ("tiny", "here"): ("ok", None),
        ("tiny", "elsewhere"): ("skipped", "unavailable"),
        ("odd", "here"): ("skipped", "settings"),
        ("odd", "elsewhere"): ("skipped", "unavailable"),
        ("away", "here"): ("failed", "artifact"),
        ("away", "elsewhere"): ("skipped", "unavailable"),
    }
    assert rows["odd", "here"]["cause"] == "not this one"
    assert done.code == 1  # one has failed


def test_a_skipped_cell_fails_the_command_only_when_it_is_strict(bench: Bench) -> None:
    profile = bench.profile({"here": {}, "elsewhere": {"device": "nowhere"}})
    done = bench.run(profile, "--no-report")
    assert done.code == 0
    assert verify(done.session.path) == [], "a cell that was never measured has no tables to miss"
    assert bench.run(profile, "--no-report", "--strict").code == 1


def test_a_run_in_which_nothing_ran_exits_with_1_and_shows_the_causes(bench: Bench) -> None:
    done = bench.run(bench.profile({"elsewhere": {"device": "nowhere"}}))
    assert done.code == 1
    assert "no cell could be measured" in done.errors
    assert "nowhere" in done.errors + done.output
    assert done.session.row.status == "complete"


def test_an_observer_is_told_of_each_cell_and_its_failure_stops_nothing(bench: Bench) -> None:
    profile = bench.profile({"a": {}, "b": {"crash": "raise"}, "c": {"device": "nowhere"}})
    notes = bench.folder / "notes.txt"
    done = bench.run(profile, "--no-report", TOY_OBSERVER=str(notes), TOY_OBSERVER_RAISES="1")
    told = dict(line.split() for line in notes.read_text().splitlines())
    assert told == {row["cell_id"]: row["status"] for row in done.session.cells().to_pylist()}
    assert sorted(told.values()) == ["failed", "ok", "skipped"]
    assert "the toy observer was told to fail" in done.errors


def test_a_probe_that_fails_costs_only_its_own_channels(bench: Bench) -> None:
    done = bench.run(bench.profile({"a": {}}, probes={"toymeter": {"mode": "raise"}}), "--no-report")
    assert done.code == 0
    (probe,) = [probe for probe in done.session.row.probes or () if probe.probe == "toymeter"]
    assert not probe.available
    assert "the toy meter is on fire" in (probe.reason or "")


def test_what_a_runtime_prints_and_reads_cannot_break_the_protocol(bench: Bench) -> None:
    done = bench.run(bench.profile({"a": {"print": True}}), "--no-report")
    assert (done.code, done.cell("a")["status"]) == (0, "ok")
    assert "banner" not in done.output + done.errors


def test_a_contended_block_is_repeated_and_both_are_kept(bench: Bench) -> None:
    profile = bench.profile({"a": {"step_s": 0.1}}, min_blocks=2, max_blocks=2, contended=0.05, repeat_contended=1)
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        done = bench.run(profile, "--no-report")
    finally:
        burner.kill()
        burner.wait()
    rows = done.rows("blocks")
    assert [row["block"] for row in rows] == [0, 1, 2, 3]
    assert [row["round"] for row in rows] == [0, 0, 1, 1]
    assert all("contended" in row["flags"] for row in rows)
    assert all(float(str(row["other_cpu_s"])) > 0.1 for row in rows)


def test_blocks_wait_for_the_temperature_of_the_first_one(bench: Bench) -> None:
    """The sensor jumps by 20 degrees at its first reading after the start and stays there."""
    tree = FakeTemperatures(
        bench.folder, [Chip("coretemp", [HwmonSensor("Package id 0", lambda t: 40.0 if t < 2 else 60.0)])]
    )
    profile = bench.profile(
        {"a": {"prefill_s": 0.3}},
        probes={"thermal": {"root": str(tree.root), "cpu_root": str(tree.cpu_root)}},
        gate_timeout_s=0.5,
    )
    started = bench.start(profile, "--no-report")
    until(started.blocks, "the first block")
    tree.advance(3.0)
    started.process.communicate(timeout=300)
    rows = Session(started.session_folder()).table("blocks").to_pylist()
    assert rows[0]["gate_wait_s"] == 0.0
    assert "thermal_gate_timeout" in rows[2]["flags"]
    assert rows[2]["gate_wait_s"] >= 0.5
    assert rows[0]["temperature_start_c"] == 40.0
    assert rows[2]["temperature_start_c"] == 60.0
    waits = [row for row in Session(started.session_folder()).table("events").to_pylist() if row["kind"] == "gate_wait"]
    assert waits[-1]["block"] == 2


def test_the_parent_of_a_run_loads_no_model_runtime_and_stays_small(bench: Bench) -> None:
    """Without pandas, which is none of ours and which pyarrow loads where it is installed."""
    profile = bench.profile({"a": {}, "real": {"plugin": "torch", "device": "nowhere"}})
    code = (
        "import sys\nclass Without:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'pandas': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\nfrom joulebench.cli import main\n"
        f"try: main(['run', {str(profile)!r}, '--output', 'out', '--no-report'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'safetensors', 'onnxruntime', 'pynvml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=bench.environment,
        cwd=bench.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak_kib = int(done.stdout.split("VmHWM:")[1].split()[0])
    print(f"VmHWM of the parent: {peak_kib / 1024:.1f} MiB")
    assert peak_kib < 90 * 1024


def test_a_cell_that_exceeds_its_whole_time_fails_and_names_the_limit(bench: Bench) -> None:
    profile = bench.profile(
        {"a": {"prefill_s": 0.3}}, limits={"cell_s": 2.0}, warmup_max_s=60.0, warmup_requests=100, warmup_min_s=60.0
    )
    done = bench.run(profile, "--no-report")
    assert done.code == 1
    assert done.cell("a")["cause_kind"] == "hang"
    assert "limits.cell_s" in str(done.cell("a")["cause"])
