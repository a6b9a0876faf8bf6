"""What techniques cost: each against the uncompressed cell of its own backend."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from technique_sessions import FOUR_BITS, MB, PRUNED, SLIM, cell, quality, usual, write

from joulebench.session import Session
from joulebench_reports.judging.costs import evidence_words, families
from joulebench_reports.renderers import CsvRenderer, HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.techniques import (
    CostTable,
    Relative,
    TechniqueCost,
    change_words,
    front_lines,
    missing,
    rows,
)


def table(session: Session) -> CostTable:
    (cost,) = summarise(session).costs
    return cost


def costs(session: Session) -> dict[str, TechniqueCost]:
    return {cost.label: cost for cost in table(session).costs}


def test_each_cell_is_held_against_its_own_backend(tmp_path: Path) -> None:
    rows = table(usual(tmp_path))
    assert [backend.backend for backend in rows.backends] == ["torch", "llamacpp"]
    bases = [backend.baseline.label for backend in rows.backends if backend.baseline]
    assert bases == ["torch none", "llamacpp none"]
    q4 = costs(usual(tmp_path / "again"))["llamacpp q4"]
    assert q4.energy.value == pytest.approx(0.1 / 0.4, rel=0.02)  # not 0.1 / 0.5, torch's
    assert q4.size.value == pytest.approx(80 / 540)
    assert q4.memory.value == pytest.approx(153 / 612)


def test_ratios_have_intervals_that_hold_the_truth(tmp_path: Path) -> None:
    slim = costs(usual(tmp_path))["torch slim"]
    for item, truth in ((slim.energy, 0.5), (slim.rate, 2.0), (slim.processor, 0.5)):
        assert item.low is not None
        assert item.high is not None
        assert item.low < truth < item.high
        assert item.in_turns
    assert all((item.high or 9) / (item.low or 1) < 1.4 for item in (slim.rate, slim.processor))
    # The energies are estimates, whose model errs by 20 % or more.
    assert (slim.energy.high or 0) / (slim.energy.low or 1) > 1.2 / 0.8


def test_perplexity_is_compared_window_by_window(tmp_path: Path) -> None:
    perplexity = costs(usual(tmp_path))["llamacpp q4"].perplexity
    assert perplexity.low is not None
    assert perplexity.high is not None
    assert perplexity.low < math.exp(0.03) < perplexity.high
    # Windows differ by tens of per cent from each other, the difference by a tenth of one.
    assert perplexity.high - perplexity.low < 0.003


def test_agreement_comes_with_its_intervals(tmp_path: Path) -> None:
    row = costs(usual(tmp_path))["torch sparse"]
    assert row.kl.value == pytest.approx(0.4 * 1.15)
    assert row.top1.value == 60 / 64
    assert row.greedy.value == pytest.approx((2 * 32 + 2 * 64) / 256)
    # Four answers are too few for the interval of a skewed mean.
    assert (row.kl.low, row.kl.high) == (None, None)
    for item in (row.top1, row.greedy):
        assert item.value is not None
        assert item.low is not None
        assert item.high is not None
        assert item.low < item.value < item.high


def test_a_backend_without_its_uncompressed_cell_has_no_ratio_and_says_so(tmp_path: Path) -> None:
    session = write(tmp_path, [cell("torch none", "none"), cell("onnx q4", "q4", FOUR_BITS, loss=0.1, backend="onnx")])
    row = costs(session)["onnx q4"]
    for item in (row.size, row.energy, row.rate, row.memory, row.perplexity):
        assert item.value is None
        assert item.reason == "the uncompressed model was not measured on this backend"
    assert ("energy of onnx q4", row.energy.reason) in missing(table(session))


def test_energies_of_different_provenance_have_no_ratio(tmp_path: Path) -> None:
    session = write(
        tmp_path,
        [
            cell("torch none", "none", energies={"measured": 1.0}),
            cell("torch q4", "q4", FOUR_BITS, loss=0.1, energies={"estimated": 1.0}),
        ],
    )
    row = costs(session)["torch q4"]
    assert row.energy.value is None
    assert "estimated against measured" in str(row.energy.reason)
    assert row.rate.value is not None


def test_cells_that_took_no_turns_are_marked(tmp_path: Path) -> None:
    session = write(
        tmp_path,
        [
            cell("torch none", "none"),
            cell("torch q4", "q4", FOUR_BITS, loss=0.1, joules_per_token=0.2, begins_s=1000.0),
        ],
    )
    row = costs(session)["torch q4"]
    assert not row.energy.in_turns
    assert change_words(row.energy).endswith("†")
    assert "did not take turns" in " ".join(table(session).notes)


def test_another_text_and_a_session_of_before_are_told_apart(tmp_path: Path) -> None:
    other = quality(0.1, text="builtin:other")
    before = {key: value for key, value in quality(0.1).items() if key != "windows"}
    session = write(
        tmp_path,
        [
            cell("torch none", "none"),
            cell("other", "q4", FOUR_BITS, scored=other),
            cell("before", "q8", FOUR_BITS, scored=before),
        ],
    )
    cost = costs(session)
    assert cost["other"].perplexity.reason == "scored on another text than the baseline"
    assert cost["before"].perplexity.value == pytest.approx(math.exp(0.1), rel=1e-3)
    assert cost["before"].perplexity.low is None


def test_without_a_technique_there_is_no_table(tmp_path: Path) -> None:
    assert summarise(write(tmp_path, [cell("a", "none"), cell("b", "none")])).costs == ()


# -- what was done ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evidence", "size", "family", "words"),
    [
        ({"p.zero_fraction": 0.5, "p.zero_fraction_before": 0.0}, 1.0, ("pruned",), "50 % zeros, stored densely"),
        ({"p.zero_fraction": 0.5}, 0.6, ("pruned",), "50 % zeros"),
        ({"p.parameters_before": 100, "p.parameters_after": 60}, 0.6, ("pruned",), "40 % fewer parameters"),
        (
            {"q.bits_per_weight": 4.5, "q.bits_per_weight_before": 16.0},
            0.3,
            ("quantized",),
            "4.5 bits a weight, was 16",
        ),
        (
            {"q.bits_per_weight": 4.5, "q.zero_fraction": 0.1, "q.zero_fraction_before": 0.0},
            0.3,
            ("quantized",),
            "4.5 bits a weight",
        ),
        ({"q.bits_per_weight": 16.0, "q.dtype": "bfloat16"}, 1.0, (), "bits per weight 16.00; dtype bfloat16"),
        (
            {"p.zero_fraction": 0.5, "q.bits_per_weight": 4.5, "q.bits_per_weight_before": 16.0},
            0.3,
            ("pruned", "quantized"),
            "50 % zeros; 4.5 bits a weight, was 16",
        ),
        (
            {"q.bits_per_weight": 16.0, "q.bits_per_weight_before": 16.0},
            1.0,
            (),
            "bits per weight 16.00; bits per weight before 16.00",
        ),
        (
            {"p.zero_fraction": 0.004, "p.zero_fraction_before": 0.004},
            1.0,
            (),
            "zero fraction 0.004000; zero fraction before 0.004000",
        ),
        ({"kv.tokens_kept": 512, "kv.policy": "window"}, 1.0, (), "tokens kept 512.0; policy window"),
        ({}, 1.0, (), ""),
    ],
)
def test_what_was_done_is_told_from_evidence_and_not_from_a_name(
    evidence: dict[str, object], size: float, family: tuple[str, ...], words: str
) -> None:
    assert families(evidence, {}) == family  # type: ignore[arg-type]
    assert evidence_words(evidence, {}, size) == words  # type: ignore[arg-type]


def test_rounded_weights_that_run_as_floating_point_are_not_called_quantized() -> None:
    evidence = {"rtn.bits_per_weight": 4.5}
    assert families(evidence, {"bits_per_weight": 32.0}) == ("rounded",)
    assert evidence_words(evidence, {"bits_per_weight": 32.0}, 2.0) == ("4.5 bits a weight, run densely")
    assert families(evidence, {"bits_per_weight": 5.1}) == ("quantized",)


# -- claims -------------------------------------------------------------------------------------


def claims(session: Session) -> dict[str, tuple[str, str]]:
    return {
        claim.text.split()[0] + " " + claim.text.split()[-1]: (claim.verdict, claim.why)
        for claim in table(session).claims
    }


def test_zeros_that_are_stored_densely_refute_the_claim_on_pruning(tmp_path: Path) -> None:
    session = write(tmp_path, [cell("torch none", "none"), cell("torch sparse", "sparse", PRUNED, loss=0.2)])
    verdict, why = claims(session)["Pruning loss"]
    assert verdict == "refuted here"
    assert "0 % smaller on disk (50 % zeros, stored densely)" in why
    assert "fails for 1 of 1" in why.replace("holds for 0, ", "").replace(", open for 0", "")


def test_a_small_model_that_loses_little_confirms_it(tmp_path: Path) -> None:
    session = write(
        tmp_path,
        [
            cell("torch none", "none"),
            cell("torch sparse", "sparse", PRUNED, loss=0.2),
            cell("torch slim", "slim", SLIM, loss=0.01, size=180 * MB),
        ],
    )
    assert claims(session)["Pruning loss"][0] == "confirmed here"


def test_a_mild_pruning_or_a_wide_interval_tells_nothing(tmp_path: Path) -> None:
    mild = cell("torch slim", "slim", SLIM, loss=0.01, size=500 * MB)
    wide = cell("torch slim", "slim", SLIM, size=180 * MB, scored=quality(0.02, spread=0.05))
    for number, item in enumerate((mild, wide)):
        session = write(tmp_path / str(number), [cell("torch none", "none"), item])
        assert claims(session)["Pruning loss"][0] == "not testable here"


def test_quantization_is_judged_on_speed_and_processor_time(tmp_path: Path) -> None:
    result = claims(usual(tmp_path))
    verdict, why = result["Quantization faster"]
    assert verdict == "confirmed here"  # 2 s and 0.8 s
    assert "llamacpp q4: speed +1" in why
    assert "4.5 bits a weight" in why
    assert result["Quantization computing"][0] == "confirmed here"


def test_a_quantized_model_that_is_no_faster_refutes_the_claim(tmp_path: Path) -> None:
    session = write(tmp_path, [cell("torch none", "none"), cell("torch q4", "q4", FOUR_BITS, loss=0.05, size=90 * MB)])
    result = claims(session)
    assert result["Quantization faster"][0] == "refuted here"
    assert result["Quantization computing"][0] == "refuted here"


def test_claims_without_such_cells_or_without_turns_are_not_testable(tmp_path: Path) -> None:
    session = write(
        tmp_path,
        [cell("torch none", "none"), cell("torch q4", "q4", FOUR_BITS, loss=0.05, seconds=0.5, begins_s=1000.0)],
    )
    result = claims(session)
    assert result["Pruning loss"][0] == "not testable here"
    assert "no such cell in this session" in result["Pruning loss"][1]
    assert result["Quantization faster"][0] == "not testable here"
    assert "not in turns" in result["Quantization faster"][1]


def test_a_chain_of_both_counts_for_neither_claim(tmp_path: Path) -> None:
    session = write(
        tmp_path,
        [cell("torch none", "none"), cell("torch both", "both", {**PRUNED, **FOUR_BITS}, loss=0.3, size=90 * MB)],
    )
    assert {verdict for verdict, _ in claims(session).values()} == {"not testable here"}


# -- reports ------------------------------------------------------------------------------------

READ = {
    "terminal": lambda item: TerminalRenderer().render(item, {"width": 200, "verbose": True}),
    "markdown": lambda item: MarkdownRenderer().render(item, {}),
    "html": lambda item: HtmlRenderer().render(item, {"charts": False}),
}


@pytest.mark.parametrize("report", READ)
def test_every_report_has_the_table_the_claims_and_the_fronts(tmp_path: Path, report: str) -> None:
    text = " ".join(READ[report](usual(tmp_path)).replace("\\", "").split())
    for words in (
        "Techniques: smollm2-135m, chat",
        "50 % zeros, stored densely",
        "4.5 bits a weight, was 32",
        "-85.2 %",
        "Claims of the survey",
        "confirmed here",
        "refuted here",
        "loss of quality against energy",
    ):
        assert words in text, words


def test_a_narrow_terminal_keeps_quality_and_energy(tmp_path: Path) -> None:
    text = TerminalRenderer().render(usual(tmp_path), {"width": 80})
    part = text.partition("Techniques:")[2].partition("Against the uncompressed")[0]
    assert max(map(len, part.splitlines())) <= 80
    assert "perplexity" in part
    assert "energy" in part


def test_the_summary_for_machines_has_every_ratio(tmp_path: Path) -> None:
    document = json.loads(JsonRenderer().render(usual(tmp_path), {}))
    (cost,) = document["costs"]
    assert cost["backends"][1]["costs"][0]["size"]["value"] == pytest.approx(80 / 540)
    assert {claim["verdict"] for claim in cost["claims"]} == {"confirmed here", "refuted here"}


def test_the_table_for_spreadsheets_has_the_intervals(tmp_path: Path) -> None:
    header = CsvRenderer().render(usual(tmp_path), {}).splitlines()[0].split(",")
    for name in ("agreed_share", "top1_share", "kl_nats_mean", "text_perplexity_ratio"):
        assert {f"{name}_low", f"{name}_high"} <= set(header)


def test_a_technique_on_no_front_is_named_with_what_beats_it(tmp_path: Path) -> None:
    lines = dict(front_lines(table(usual(tmp_path))))
    assert "torch sparse is dominated by llamacpp q4" in lines["loss of quality against peak memory"]
    assert "llamacpp q4" in lines["loss of quality against energy"].split(";")[0]


def test_foreign_text_stays_inert(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    session = write(tmp_path, [cell("torch none", "none"), cell(bad, bad, {bad: {"zero_fraction": 0.5}}, loss=0.2)])
    assert "<img" not in HtmlRenderer().render(session, {"charts": False})
    assert "<img" not in MarkdownRenderer().render(session, {})


@pytest.mark.parametrize(
    ("relative", "words"),
    [
        (Relative(0.5, 0.48, 0.52), "-50.0 ± 2.0 %"),
        (Relative(1.0), "0 %"),
        (Relative(1.25), "+25.0 %"),
        (Relative(1.00000003), "0 %"),
        (Relative(0.875, 0.01, 90.0), "-12.5 %, too noisy"),
        (Relative(0.875, -2.0, 3.0), "-12.5 %, too noisy"),
        (Relative(2.0, 1.9, 2.1, in_turns=False), "+100 ± 10 %†"),
        (Relative(reason="why"), "–"),
    ],
)
def test_a_ratio_is_told_as_a_change(relative: Relative, words: str) -> None:
    assert change_words(relative) == words


def test_rows_begin_with_the_baseline_as_it_is(tmp_path: Path) -> None:
    first = rows(table(usual(tmp_path)).backends[0])[0]
    assert first[0] == "none"
    assert first[1] == "515 MiB"
    assert first[2].endswith("J/token est.")
