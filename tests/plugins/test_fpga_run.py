"""A run with a simulated cell: what is recorded, what is shown, and what is never mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from joulebench.session import Session
from joulebench_reports.summary.session import summarise

pytest.importorskip("numpy")
pytest.importorskip("torch")

PROFILE = """
version = 1

[model.tiny]
source = "path:{model}"

[backend.torch]

[backend.fpga]
device_file = "own.toml"
verify = "off"
cache_tokens = 128

[backend.broken]
plugin = "fpga"
lanes = 48
verify = "off"

[workload.generate]
prompts = "prompts.txt"
new_tokens = 4

[agreement]
reference = {{ backend = "torch" }}
prompts = "prompts.txt"
count = 1
tokens = 4

[probe.thermal]
enabled = false

[protocol]
processes = 1
min_blocks = 3
max_blocks = 3
requests_per_block = 2
idle_s = 0.2
warmup_min_s = 0.0
warmup_requests = 3

[sampler]
calibrate_s = 0.2
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, cli: Any) -> Session:
    folder = tmp_path_factory.mktemp("fpga-run")
    import joulebench_plugins.fpga

    board = Path(joulebench_plugins.fpga.__file__).parent / "boards" / "kv260.toml"
    (folder / "own.toml").write_text(board.read_text())
    (folder / "prompts.txt").write_text("the cat sat\na dog paid twelve coins\n")
    (folder / "p.toml").write_text(PROFILE.format(model=tiny_checkpoint))
    done = cli("run", folder / "p.toml", "--output", folder / "out", cwd=folder)
    assert done.code == 0, done.stdout + done.stderr
    (file,) = folder.glob("out/*/session.arrow")
    return Session(file.parent)


def cell_id(session: Session, backend: str) -> str:
    rows = session.cells().to_pylist()
    return next(str(row["cell_id"]) for row in rows if row["backend"] == backend)


def test_a_simulated_cell_has_two_time_bases_and_others_one(session: Session) -> None:
    bases = {row["backend"]: row["time_base"] for row in session.cells().to_pylist()}
    assert bases == {"torch": "host", "fpga": "device", "broken": None}
    ours = session.table("blocks", cell_id(session, "fpga")).to_pylist()
    assert len(ours) == 3
    for row in ours:
        assert row["device_s"] == pytest.approx(row["device_cycles"] / 200e6)
        assert row["device_s"] != pytest.approx(row["duration_s"], rel=0.01)
    theirs = session.table("blocks", cell_id(session, "torch")).to_pylist()
    assert {row["device_s"] for row in theirs} == {None}


def test_device_seconds_of_requests_add_up(session: Session) -> None:
    own = cell_id(session, "fpga")
    blocks = session.table("blocks", own).to_pylist()
    requests = session.table("requests", own).to_pylist()
    for block in blocks:
        mine = [row for row in requests if row["block"] == block["block"]]
        assert sum(row["device_s"] for row in mine) == pytest.approx(block["device_s"])
        for row in mine:
            parts = row["device_prefill_s"] + row["device_decode_s"]
            assert parts == pytest.approx(row["device_s"])
            assert row["device_token_s"][0] == pytest.approx(row["device_ttft_s"])
            assert row["device_token_s"][-1] == pytest.approx(row["device_s"])


def test_this_machine_s_joules_enter_no_total_of_the_simulated_cell(session: Session) -> None:
    rows = session.table("energy", cell_id(session, "fpga")).to_pylist()
    counted = [row for row in rows if row["counted"]]
    assert {(row["provenance"], row["domain"], row["method"]) for row in counted} == {("simulated", "device", "model")}
    host = [row for row in rows if not row["counted"]]
    assert host, "the simulator's own energy stays in the record"
    assert all("simulator" in row["flags"] for row in host)


def test_the_record_says_what_the_figures_rest_on(session: Session) -> None:
    cell = next(c for c in summarise(session).cells if c.backend == "fpga")
    assert cell.facts["evidence"] == "analytic"
    assert "softmax" in str(cell.facts["not_modelled"])
    assert "KV260" in str(cell.facts["hardware"])
    assert cell.agreement is not None


def test_the_report_keeps_simulated_apart(session: Session) -> None:
    summary = summarise(session)
    ours = next(c for c in summary.cells if c.backend == "fpga")
    theirs = next(c for c in summary.cells if c.backend == "torch")
    assert ours.simulated
    assert not theirs.simulated
    assert [row.provenance for row in ours.energy] == ["simulated"]
    assert ours.headline.is_range
    assert ours.speed.decode_tok_s.provenance == "simulated"
    assert theirs.speed.decode_tok_s.provenance is None
    blocks = session.table("blocks", ours.id).to_pylist()
    requests = session.table("requests", ours.id).to_pylist()
    rate = sum(row["decode_tokens"] for row in blocks) / sum(row["device_decode_s"] for row in requests)
    assert ours.speed.decode_tok_s.value == pytest.approx(rate)
    assert ours.simulation_s == pytest.approx(sum(row["duration_s"] for row in blocks))
    (table,) = summary.verdicts
    assert {v.outcome for v in table.verdicts if v.cell_id == ours.id} == {"cannot tell"}


def test_the_terminal_marks_it_and_says_what_the_simulation_took(session: Session, cli: Any) -> None:
    text = cli("report", session.path, "--format", "terminal").stdout
    line = next(line for line in text.splitlines() if line.startswith("fpga"))
    assert line.count("sim.") >= 2
    assert "±" not in line
    assert "simulation took" in text
    assert "lanes: the adder tree needs a power of two" in " ".join(text.split())


def test_advice_is_for_this_machine(session: Session, cli: Any) -> None:
    text = cli("advise", session.path).stdout
    assert "its hardware is simulated, not this machine" in text


def test_a_device_file_that_is_not_there_is_wrong_use(tmp_path: Path, cli: Any) -> None:
    (tmp_path / "p.toml").write_text(
        'version = 1\n[model.m]\nsource = "shape:tiny-llama"\n[backend.fpga]\n'
        'device_file = "nowhere.toml"\n[workload.generate]\n'
    )
    answer = cli("plan", tmp_path / "p.toml")
    assert answer.code == 2
    assert "nowhere.toml" in answer.stderr
    assert "p.toml:5" in answer.stderr
