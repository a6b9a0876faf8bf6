"""The published file: its figures as any correct analysis gives them, and its three faults.

The figures were computed by others with pandas and scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebench.session import Session
from joulebench_reports.melodi.analysis import Analysis, GroupAnalysis, analyse
from joulebench_reports.melodi.faults import findings
from joulebench_reports.melodi.importing import import_tables
from joulebench_reports.melodi.publishedtable import read_table
from joulebench_reports.values.figure import Figure


@pytest.fixture
def analysis(sample: Path, tmp_path: Path) -> Analysis:
    import_tables([read_table(sample)], tmp_path / "session")
    return analyse(Session(tmp_path / "session"))


@pytest.fixture
def group(analysis: Analysis) -> GroupAnalysis:
    [group] = analysis.groups
    return group


def _shown(figure: Figure, places: int, bounds: int | None = None) -> str:
    assert figure.value is not None
    text = f"{figure.value:.{places}f}"
    if bounds is None:
        return text
    assert figure.low is not None
    assert figure.high is not None
    return f"{text} [{figure.low:.{bounds}f}, {figure.high:.{bounds}f}]"


def test_joules_per_token(group: GroupAnalysis) -> None:
    assert _shown(group.ratio_of_sums, 3, 2) == "32.329 [31.99, 32.69]"
    assert _shown(group.mean_of_ratios, 3) == "35.468"
    assert _shown(group.median_of_ratios, 3) == "31.436"


def test_the_length_model(group: GroupAnalysis) -> None:
    terms = [figure for _, figure in group.length_model.terms]
    assert _shown(group.length_model.r_squared, 4) == "0.9554"
    assert [_shown(terms[1], 3), _shown(terms[0], 1)] == ["31.653", "170.0"]


def test_the_correlations(group: GroupAnalysis) -> None:
    by_name = {correlation.column: correlation.r for correlation in group.correlations}
    assert _shown(by_name["response_duration"], 4) == "0.9992"
    assert _shown(by_name["response_token_length"], 4) == "0.9775"
    assert _shown(by_name["prompt_token_length"], 4) == "-0.2516"


def test_the_three_faults_are_named(sample: Path) -> None:
    by_name = {finding.name: finding for finding in findings(read_table(sample))}
    assert "'unknown'" in by_name["device_unknown"].what
    assert by_name["device_unknown"].rows == 1026
    silent = by_name["silent_sensor"].what
    assert "energy_consumption_llm_gpu is 0 in every row" in silent
    assert "energy_consumption_llm_cpu is 2.317 kWh in total" in silent
    assert "unnamed duplicates" in by_name["index_columns"].what


def test_what_holds_and_what_this_file_cannot_tell(analysis: Analysis, group: GroupAnalysis) -> None:
    verdicts = {item.claim: item.verdict for item in (*group.findings, *analysis.findings)}
    assert verdicts == {
        "the length of the answer predicts the energy": "holds",
        "the length of the prompt hardly predicts it": "holds",
        # One feature explains 10 % [5, 17] by itself, and nothing among answers of equal length.
        "the complexity of the prompt hardly predicts it": "cannot tell",
        "the GPU takes more than the CPU": "cannot tell",
        "devices differ": "cannot tell",
    }
    beyond = [feature.beyond.value for feature in group.features if feature.beyond.value is not None]
    assert beyond
    assert all(abs(value) < 0.1 for value in beyond)
