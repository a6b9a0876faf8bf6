"""The agreement check in real runs of toys: what a cell's record says of how it compares."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import Any

import pytest
from toyrun import Bench, Done, until

from joulebench.session import Session

PROMPTS, TOKENS = 4, 8
TOY = {"prefill_s": 0.0, "step_s": 0.0}


def _more(reference: str = '{ backend = "truth" }', more: str = "") -> str:
    return (
        f"\n[agreement]\nreference = {reference}\nprompts = 'prompts.txt'\ncount = {PROMPTS}\ntokens = {TOKENS}\n{more}"
    )


def _run(bench: Bench, backends: Mapping[str, Mapping[str, object]], more: str, **protocol: Any) -> Done:
    profile = bench.profile({name: {**TOY, **backend} for name, backend in backends.items()}, more=more, **protocol)
    return bench.run(profile, "--no-report")


def _agreement(done: Done, backend: str) -> dict[str, Any]:
    document = json.loads(str(done.cell(backend)["agreement_json"]))
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, toy_environment: dict[str, str]) -> Done:
    """One run of cells that agree, part at ties, part for good, and show no logits."""
    bench = Bench(tmp_path_factory.mktemp("agreement"), toy_environment)
    backends: dict[str, Mapping[str, object]] = {
        "truth": {},
        "same": {},
        "ties": {"errs": "at ties"},
        "wrong": {"errs": "at the third token"},
        "rough": {"errs": "at the third token", "dtype": "bfloat16"},
        "blurred": {"blur": 0.5},
        "mute": {"plugin": "mutetoy"},
    }
    result = _run(bench, backends, _more(more='[quality]\ntext = "prompts.txt"\n'))
    assert result.code == 0, result.errors
    return result


def test_a_cell_that_does_the_same_agrees_in_every_token_and_logit(done: Done) -> None:
    agreement = _agreement(done, "same")
    assert (agreement["agreed_tokens"], agreement["compared_tokens"]) == (32, 32)
    assert agreement["divergences"] == []
    assert (agreement["positions"], agreement["top1_share"]) == (32, 1.0)
    assert (agreement["kl_nats_mean"], agreement["kl_nats_max"]) == (0.0, 0.0)
    assert agreement["perplexity_ratio"] == 1.0
    assert (agreement["held"], agreement["disagrees"], agreement["reason"]) == (True, [], None)
    assert "disagrees" not in done.cell("same")["flags"]


def test_the_record_names_the_reference_and_its_random_prompts(done: Done) -> None:
    about = _agreement(done, "same")["reference"]
    assert (about["label"], about["device"], about["dtype"]) == ("truth", "cpu", "float32")
    assert about["prompts"] == "prompts.txt"
    assert about["random_prompts"] is True  # the toy's model has no tokenizer


def test_tokens_count_up_to_a_tie_and_parting_there_is_no_disagreement(done: Done) -> None:
    agreement = _agreement(done, "ties")
    assert agreement["ties"] == len(agreement["divergences"]) > 0
    lost = sum(TOKENS - divergence["position"] for divergence in agreement["divergences"])
    assert agreement["agreed_tokens"] == agreement["compared_tokens"] == PROMPTS * TOKENS - lost
    first = agreement["divergences"][0]
    assert first["token"] == (first["reference_token"] + 1) % 256
    assert first["gap"] == pytest.approx(1e-4, rel=0.01)
    assert first["gap"] < first["tolerance"] < 1e-2
    assert agreement["held"]
    assert "disagrees" not in done.cell("ties")["flags"]


def test_a_full_precision_cell_that_parts_beyond_a_tie_is_flagged(done: Done) -> None:
    agreement = _agreement(done, "wrong")
    assert [divergence["position"] for divergence in agreement["divergences"]] == [2] * PROMPTS
    assert any(not divergence["tie"] and divergence["gap"] == 3.0 for divergence in agreement["divergences"])
    assert agreement["agreed_tokens"] == 2 * PROMPTS
    assert agreement["agreed_tokens"] < agreement["compared_tokens"] <= PROMPTS * TOKENS
    assert "parted from the reference beyond a tie" in agreement["disagrees"][0]
    assert "disagrees" in done.cell("wrong")["flags"]


def test_a_cell_of_less_precision_shows_the_same_figures_without_the_flag(done: Done) -> None:
    rows, wrong = _agreement(done, "rough"), _agreement(done, "wrong")
    assert rows["divergences"] == wrong["divergences"]
    assert (rows["held"], rows["disagrees"]) == (False, [])
    assert "disagrees" not in done.cell("rough")["flags"]


def test_a_perplexity_that_is_off_is_flagged_though_all_tokens_agree(done: Done) -> None:
    agreement = _agreement(done, "blurred")
    assert agreement["agreed_tokens"] == PROMPTS * TOKENS
    assert agreement["kl_nats_mean"] > 0
    assert agreement["kl_nats_max"] >= agreement["kl_nats_mean"]
    assert agreement["perplexity_ratio"] > 1.001
    assert any("its answers is off by" in flag for flag in agreement["disagrees"])
    assert "disagrees" in done.cell("blurred")["flags"]


def test_without_logits_there_are_tokens_only(done: Done) -> None:
    agreement = _agreement(done, "mute")
    assert agreement["agreed_tokens"] == agreement["compared_tokens"] == PROMPTS * TOKENS
    unknown = ("top1_share", "kl_nats_mean", "kl_nats_max", "perplexity_ratio", "positions")
    assert [agreement[name] for name in unknown] == [None] * 5
    assert agreement["disagrees"] == []


def test_nothing_of_the_reference_stays_in_the_session(done: Done) -> None:
    assert done.folder is not None
    assert not (done.folder / ".references").exists()


def test_blocks_are_measured_as_ever(done: Done) -> None:
    for name in ("truth", "wrong", "mute"):
        assert (done.cell(name)["status"], done.cell(name)["blocks"]) == ("ok", 3)


def test_where_the_model_does_not_run_nothing_is_compared_or_scored(bench: Bench) -> None:
    done = _run(
        bench, {"truth": {}}, "[workload.idle]\nseconds = 0.05\n" + _more(more='[quality]\ntext = "prompts.txt"\n')
    )
    assert done.code == 0, done.errors
    rows = {row["workload"]: row for row in done.session.cells().to_pylist()}
    assert rows["idle"]["status"] == "ok"
    assert rows["idle"]["agreement_json"] is None
    (other,) = rows.keys() - {"idle"}
    assert rows[other]["agreement_json"] is not None


# -- what goes wrong ---------------------------------------------------------------------------


def test_a_reference_that_crashes_leaves_the_reason_and_the_cells_are_measured(bench: Bench) -> None:
    backends = {"truth": {"crash": "segfault", "at": "logits"}, "same": {}}
    done = _run(bench, backends, _more() + '[[exclude]]\nbackend = "truth"\n')
    assert done.code == 0, done.errors
    assert "agreement is not checked" in done.errors
    agreement = _agreement(done, "same")
    assert agreement["agreed_tokens"] is None
    assert "no reference: truth cannot run" in agreement["reason"]
    assert "SIGSEGV" in agreement["reason"]


def test_a_reference_without_logits_is_no_reference_and_the_plan_says_so(bench: Bench) -> None:
    done = _run(bench, {"truth": {"plugin": "mutetoy"}, "same": {}}, _more())
    assert done.code == 0, done.errors
    assert "needs the capability 'logits'" in _agreement(done, "same")["reason"]


@pytest.mark.parametrize(("crash", "told"), [("segfault", "SIGSEGV"), ("raise", "told to raise")])
def test_a_check_that_fails_costs_the_check_and_not_the_cell(bench: Bench, crash: str, told: str) -> None:
    done = _run(bench, {"truth": {}, "bad": {"crash": crash, "at": "logits"}}, _more())
    assert done.code == 0, done.errors
    assert told in _agreement(done, "bad")["reason"]
    assert (done.cell("bad")["status"], done.cell("bad")["blocks"]) == ("ok", 3)
    assert _agreement(done, "truth")["agreed_tokens"] == PROMPTS * TOKENS
    assert {row["process"] for row in done.rows("blocks", "bad")} == {0}


# -- once, and again after an interruption -------------------------------------------------------


def test_a_cell_of_several_processes_is_compared_once(bench: Bench) -> None:
    done = _run(bench, {"truth": {}}, _more(), processes=3)
    events = [row for row in done.rows("events", "truth") if row["kind"] == "agreement"]
    assert len(events) == 1
    assert done.cell("truth")["processes"] == 3


def test_what_was_compared_before_a_kill_is_kept_and_the_reference_not_asked_again(bench: Bench) -> None:
    backends = {"truth": {}, "wrong": {"errs": "at the third token", "step_s": 0.02}}
    profile = bench.profile(backends, more=_more(), min_blocks=8, max_blocks=8)
    started = bench.start(profile, "--no-report")
    until(lambda: len(started.blocks()) >= 4, "blocks")
    started.end(signal.SIGKILL)
    folder = started.session_folder()
    assert (folder / ".references").exists()
    done = bench.run("--resume", folder, "--no-report")
    assert done.code == 0, done.errors
    assert "answering" not in done.errors
    assert _agreement(done, "truth")["agreed_tokens"] == PROMPTS * TOKENS
    assert {"disagrees", "resumed"} <= set(done.cell("wrong")["flags"])
    assert not (folder / ".references").exists()


def test_a_cell_that_was_not_reached_is_compared_when_the_run_goes_on(bench: Bench) -> None:
    backends = {"truth": {"step_s": 0.02}, "same": {}}
    profile = bench.profile(backends, more=_more(), turns=False, min_blocks=6, max_blocks=6)
    started = bench.start(profile, "--no-report")
    until(lambda: len(started.blocks()) >= 2, "blocks")
    started.end(signal.SIGKILL)
    folder = started.session_folder()
    assert len(Session(folder).cell_ids) == 1
    done = bench.run("--resume", folder, "--no-report")
    assert done.code == 0, done.errors
    assert "answering" in done.errors
    for name in backends:
        assert _agreement(done, name)["agreed_tokens"] == PROMPTS * TOKENS
