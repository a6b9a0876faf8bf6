"""The analysis: true coefficients are found, provenances stay apart, and doubt is said."""

from __future__ import annotations

import json
import random
from pathlib import Path

import published
import pytest
from click.testing import CliRunner
from own_session import Ask, Meter, write

from joulebench.cli import cli
from joulebench.errors import SessionError
from joulebench.session import Session
from joulebench_reports.melodi.analysis import Analysis, GroupAnalysis, analyse
from joulebench_reports.melodi.analysisreport import ANALYSIS, analysis_report
from joulebench_reports.melodi.importing import import_tables
from joulebench_reports.melodi.publishedtable import read_table
from joulebench_reports.melodi.renderers import AnalysisRenderer
from joulebench_reports.text.markdown import markdown_text
from joulebench_reports.text.terminal import terminal_text

LENGTH = "the length of the answer predicts the energy"
PROMPT = "the length of the prompt hardly predicts it"


def _imported(tmp_path: Path, rows: list[published.Row]) -> Session:
    import_tables([read_table(published.write(tmp_path / "t.csv", rows))], tmp_path / "s")
    return Session(tmp_path / "s")


def _verdicts(group: GroupAnalysis) -> dict[str, str]:
    return {finding.claim: finding.verdict for finding in group.findings}


def _answers(count: int) -> list[list[Ask]]:
    """Blocks of one request whose time, and so energy, goes with its tokens."""
    rng = random.Random(1)
    asks = [(rng.randrange(5, 60), rng.randrange(4, 40)) for _ in range(count)]
    return [
        [Ask(p, n, 0.01 * p, 0.1 * n * rng.gauss(1, 0.02), index=i, prompt=f"Prompt {i}")]
        for i, (p, n) in enumerate(asks)
    ]


def test_the_coefficients_of_a_made_up_table_are_found(tmp_path: Path) -> None:
    analysis = analyse(_imported(tmp_path, published.rows(150)))
    [gpu] = [group for group in analysis.groups if group.provenance == "measured"]
    truths = (published.PROMPT_J, published.PREFILL_J, published.DECODE_J)
    for (name, figure), truth in zip(gpu.phase_model.terms, truths, strict=True):
        assert figure.value == pytest.approx(truth, abs=2 * (figure.half_width or 0)), name
    assert dict(gpu.phase_model.terms)["c (a decode token)"].value == pytest.approx(3, rel=0.01)
    assert _verdicts(gpu)[LENGTH] == "holds"


def test_measured_and_estimated_energies_stay_apart(tmp_path: Path) -> None:
    analysis = analyse(_imported(tmp_path, published.rows(40)))
    by_provenance = {group.provenance: group for group in analysis.groups}
    assert set(by_provenance) == {"measured", "estimated"}
    measured, estimated = (by_provenance[item].ratio_of_sums.value for item in ("measured", "estimated"))
    assert measured is not None
    assert estimated == pytest.approx(measured * published.CPU_SHARE)
    # The GPU is measured and the CPU estimated: no share of both.
    shares = [finding for group in analysis.groups for finding in group.findings if "GPU" in finding.claim]
    assert {share.verdict for share in shares} == {"cannot tell"}


def test_one_channel_can_be_analysed_alone(tmp_path: Path) -> None:
    session = _imported(tmp_path, published.rows(40))
    [total] = analyse(session, channel="melodi/llm_total").groups
    [gpu] = analyse(session, channel="melodi/llm_gpu").groups
    assert total.provenance == "estimated"
    assert total.ratio_of_sums.value == pytest.approx((1 + published.CPU_SHARE) * (gpu.ratio_of_sums.value or 0))
    with pytest.raises(SessionError, match="no energy channel 'nonsense'"):
        AnalysisRenderer().render(session, {"channel": "nonsense"})


def test_devices_are_compared_where_one_model_ran_on_both(tmp_path: Path) -> None:
    rows = published.rows(40) + published.rows(40, device="laptop1", scale=1.5)
    [finding] = analyse(_imported(tmp_path, rows)).findings
    assert finding.verdict == "holds"
    assert finding.figure is not None
    assert finding.figure.value == pytest.approx(1 / 1.5, rel=0.03)


def test_like_devices_are_not_said_to_differ(tmp_path: Path) -> None:
    rows = published.rows(200) + published.rows(200, device="laptop1")
    [finding] = analyse(_imported(tmp_path, rows)).findings
    assert finding.verdict in ("does not hold", "cannot tell")


def test_unknown_devices_cannot_be_compared(tmp_path: Path) -> None:
    [finding] = analyse(_imported(tmp_path, published.rows(20, device="unknown"))).findings
    assert (finding.verdict, finding.why) == ("cannot tell", "no device type is known")


def test_a_model_of_cpu_time_proves_nothing(tmp_path: Path) -> None:
    meter = Meter("estimate/cpu", 20.0, provenance="estimated", domain="cpu-estimate", method="model")
    session = write(tmp_path / "s", _answers(30), [meter])
    [group] = analyse(session).groups
    assert group.correlations[0].r.value == pytest.approx(0.99, abs=0.02)
    assert _verdicts(group)[LENGTH] == "cannot tell"
    assert any("by construction" in note for note in group.notes)


def test_a_measured_session_is_judged(tmp_path: Path) -> None:
    meter = Meter("rapl/package-0", 50.0)
    [group] = analyse(write(tmp_path / "s", _answers(30), [meter])).groups
    assert _verdicts(group)[LENGTH] == "holds"
    slope = dict(group.phase_model.terms)["c (a decode token)"].value
    assert slope == pytest.approx(5.0, rel=0.05)  # 50 W for 0.1 s


def test_gpu_and_cpu_of_one_provenance_are_compared(tmp_path: Path) -> None:
    meters = [Meter("rapl/package-0", 50.0), Meter("nvml/gpu-0", 150.0, domain="gpu-0")]
    [group] = analyse(write(tmp_path / "s", _answers(20), meters)).groups
    [finding] = [finding for finding in group.findings if "GPU" in finding.claim]
    assert finding.verdict == "holds"
    assert finding.figure is not None
    assert finding.figure.value == pytest.approx(0.75)


def test_answers_of_one_length_have_no_correlation_and_no_model(tmp_path: Path) -> None:
    meter = Meter("rapl/package-0", 50.0)
    blocks = [[Ask(10 + i, 8, 0.1 + 0.01 * i, 1.0, index=i, prompt=f"P {i}")] for i in range(20)]
    [group] = analyse(write(tmp_path / "s", blocks, [meter])).groups
    assert group.correlations[0].r.value is None
    assert group.correlations[0].r.reason_if_null == ("response_token_length is the same in every prompt (8)")
    assert group.length_model.r_squared.value is None
    assert _verdicts(group) == dict.fromkeys(_verdicts(group), "cannot tell")
    assert any("the profile set the lengths" in note for note in group.notes)


def test_repetitions_are_not_more_prompts(tmp_path: Path) -> None:
    meter = Meter("rapl/package-0", 50.0)
    session = write(tmp_path / "s", _answers(12) * 5, [meter])
    [group] = analyse(session).groups
    assert (group.requests, group.points, group.prompts) == (60, 12, 12)
    assert "repeated prompts" in (group.ratio_of_sums_in_order.reason_if_null or "")


def test_a_machine_that_drifts_widens_the_interval_and_is_named(tmp_path: Path) -> None:
    rows = published.rows(400)
    for row in rows[300:]:
        for name in [value for value in row if value.startswith("energy_consumption_llm")]:
            row[name] = float(str(row[name])) * 1.5
    [gpu] = [group for group in analyse(_imported(tmp_path, rows)).groups if group.provenance == "measured"]
    simple, honest = gpu.ratio_of_sums, gpu.ratio_of_sums_in_order
    assert honest.half_width is not None
    assert simple.half_width is not None
    assert honest.half_width > 2 * simple.half_width
    assert any("prompts in a row resemble each other" in note for note in gpu.notes)
    assert any("published table: drift" in note for note in gpu.notes)


def test_blocks_that_were_disturbed_are_named(tmp_path: Path) -> None:
    meter = Meter("rapl/package-0", 50.0)
    session = write(tmp_path / "s", _answers(12), [meter], block_flags=["contended"])
    [group] = analyse(session).groups
    assert any(note.startswith("contended in 12 of 12 blocks") for note in group.notes)


@pytest.mark.parametrize(
    "blocks",
    [[], [[Ask(10, 5)]], [[Ask(10, 5, index=i)] for i in range(3)]],
    ids=["no block", "one prompt", "three prompts"],
)
def test_a_session_with_hardly_anything_has_no_interval_and_no_claim(tmp_path: Path, blocks: list[list[Ask]]) -> None:
    analysis = analyse(write(tmp_path / "s", blocks, [Meter("rapl/package-0", 50.0)]))
    assert all(group.ratio_of_sums.low is None for group in analysis.groups)
    verdicts = {finding.verdict for group in analysis.groups for finding in group.findings}
    assert verdicts <= {"cannot tell"}
    for text in (
        terminal_text(analysis_report(analysis), 100),
        markdown_text(analysis_report(analysis)),
        ANALYSIS.text(analysis),
    ):
        assert "nan" not in text.lower().split()


def test_a_session_without_energy_says_so(tmp_path: Path) -> None:
    meter = Meter("rapl/package-0", 0.0, block_flags=["counter_frozen"])
    analysis = analyse(write(tmp_path / "s", _answers(12), [meter]))
    assert analysis.groups == ()
    assert any("nothing to analyse" in note for note in analysis.notes)


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    rows = [{**row, "model_name": "evil\x1b[31m|<b>"} for row in published.rows(40)]
    return analyse(_imported(tmp_path, rows))


def test_json_has_every_figure_and_no_nan(analysis: Analysis) -> None:
    document = json.loads(ANALYSIS.text(analysis))
    assert document["format"] == "joulebench-melodi-analysis"
    group = document["groups"][0]
    assert group["ratio_of_sums"]["provenance"] == group["provenance"]
    assert {correlation["column"] for correlation in group["correlations"]} >= {"response_token_length"}


def test_foreign_text_is_inert(analysis: Analysis) -> None:
    assert "\x1b" not in terminal_text(analysis_report(analysis), 100)
    markdown = markdown_text(analysis_report(analysis))
    assert "<b>" not in markdown
    assert "\x1b" not in markdown


def test_the_same_seed_gives_the_same_report(tmp_path: Path) -> None:
    session = _imported(tmp_path, published.rows(30))
    renderer = AnalysisRenderer()
    assert renderer.render(session, {"seed": 3}) == renderer.render(session, {"seed": 3})
    assert renderer.render(session, {"seed": 3}) != renderer.render(session, {"seed": 4})


def test_the_command_line_gives_each_form(table_file: Path, tmp_path: Path) -> None:
    import_tables([read_table(table_file)], tmp_path / "s")
    for form, start in (("text", "Energy of prompts"), ("markdown", "# "), ("html", "<!doctype"), ("json", "{")):
        arguments = ["report", str(tmp_path / "s"), "--format", "analysis"]
        result = CliRunner().invoke(cli, [*arguments, "--option", f"form={form}"])
        assert result.exit_code == 0, result.output
        assert result.output.startswith(start)
