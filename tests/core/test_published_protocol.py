"""A run by a published procedure, as its user starts it: margins, order, one pass, and its mark."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from toyrun import PROTOCOL, Bench, Done

WATTS = 5.0
#: Shorter than the published ones, for the sake of the test.
MARGINS = {"margin_before_s": 0.3, "margin_after_s": 0.4, "counted_before_s": 0.1, "counted_after_s": 0.2}
#: Nothing of the short protocol of the other tests: the preset's numbers hold.
OPEN = {name: None for name in PROTOCOL if name not in ("contended", "seed")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, toy_environment: dict[str, str]) -> Done:
    """Twelve prompts by the procedure ``melodi``, with shorter margins."""
    bench = Bench(tmp_path_factory.mktemp("published"), toy_environment)
    (bench.folder / "prompts.txt").write_text(
        "\n".join(" ".join(["word"] * (number + 1)) for number in range(12)) + "\n"
    )
    profile = bench.profile({"toy": {}}, probes={"toymeter": {"mode": "gauge"}}, preset="melodi", **OPEN, **MARGINS)
    done = bench.run(profile)
    assert done.code == 0, done.errors
    return done


def test_it_goes_once_through_the_prompts_in_their_order_and_counts_the_margins(run: Done) -> None:
    requests = run.rows("requests")
    assert [row["block"] for row in requests] == list(range(12))
    lengths = [row["prefill_tokens"] for row in requests]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]

    blocks = {row["block"]: row for row in run.rows("blocks")}
    totals = [row for row in run.rows("energy") if row["phase"] == "total"]
    assert len(totals) == 12
    for row in totals:
        assert row["duration_s"] == pytest.approx(blocks[row["block"]]["duration_s"] + 0.3)
        assert row["gross_j"] == pytest.approx(WATTS * float(str(row["duration_s"])), rel=1e-6)
        assert "margins_counted" in row["flags"]  # type: ignore[operator]
        assert row["net_j"] is None
    starts = [int(str(blocks[number]["t0_ns"])) for number in range(12)]
    ends = [int(str(blocks[number]["t1_ns"])) for number in range(12)]
    waits = [(start - end) * 1e-9 for start, end in zip(starts[1:], ends[:-1], strict=True)]
    assert min(waits) >= 0.7


def test_the_session_records_the_procedure_and_reports_say_so(run: Done, bench: Bench) -> None:
    recorded = run.session.json("protocol_json")
    assert recorded["preset"] == "melodi"
    assert recorded["protocol"]["margin_after_s"] == 0.4
    assert recorded["protocol"]["passes"] == 1
    assert "protocol melodi" in run.output
    assert "margins_counted" in run.output
    assert run.folder is not None
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "protocol melodi" in page
    shown = subprocess.run(
        [sys.executable, "-m", "joulebench", "report", str(run.folder), "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
        env=bench.environment,
    ).stdout
    cell = json.loads(shown)["cells"][0]
    assert cell["energy"][0]["power_w"]["value"] is None
    assert "margins" in cell["energy"][0]["power_w"]["reason_if_null"]


def test_passes_stop_at_the_end_of_the_list_and_processes_share_it(bench: Bench) -> None:
    profile = bench.profile(
        {"a": {}, "b": {}}, passes=2, processes=3, requests_per_block=5, min_blocks=None, max_blocks=None
    )
    done = bench.run(profile, "--no-report")
    assert done.code == 0, done.errors
    for name in ("a", "b"):
        rows = done.rows("blocks", name)
        # Twelve prompts in blocks of five are three blocks a pass.
        assert len(rows) == 6
        assert {row["process"] for row in rows} == {0, 1, 2}
