"""Numbers on the pages are those of the code: each sentence is made from the constant that it tells of."""

from __future__ import annotations

from typing import Final

import pytest
from doc_pages import page, prose

from joulebench import agreement
from joulebench.meter import clusters, comparison, counters, energy, gauges, idle, uncertainty, windows
from joulebench.meter.live import calibration
from joulebench.metering import watch
from joulebench.plan import leakage, matrix
from joulebench.registry.loading import IMPORT_LIMIT_S
from joulebench.worker import reference
from joulebench.worker import windows as request_windows
from joulebench_plugins.command import link
from joulebench_plugins.hardware import caches
from joulebench_plugins.perf import _RATE_HZ as PERF_HZ
from joulebench_reports import renderers
from joulebench_reports.charts import bars
from joulebench_reports.compare.changes import DEFAULT_THRESHOLD
from joulebench_reports.html.folding import MOST_WRITTEN
from joulebench_reports.judging import advice, ratios
from joulebench_reports.melodi import bootstrap
from joulebench_reports.melodi import faults as melodi_faults
from joulebench_reports.sections.contents import MUCH_DISTURBED
from joulebench_reports.values.options import DEFAULT_MAX_LOSS, MOST_TIMELINES

_MIB: Final = 2**20


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


_SENTENCES: Final = {
    "measurement.md": [
        f"Requests that follow each other within {request_windows._JOIN_NS / 1e6:g} ms count as one window",
        f"within one wrap at {energy.MOST_POWER_W / 1000:g} kW",
        f"| {energy.FINE_PERIODS} T or longer |",
        f"| {energy.SMALLEST_PERIODS} T … {energy.FINE_PERIODS} T |",
        f"| shorter than {energy.SMALLEST_PERIODS} T |",
        f"(of the whole window where that quarter is shorter than {windows._END_PERIODS} T)",
        f"if L is more than {_percent(windows._CORRECTED_SHARE)} of the window",
        f"no setup of more than {windows._SETUP_SHARE:g} T came before it",
        f"differ by more than {_percent(idle.DRIFT_SHARE)} and by more than two standard uncertainties",
        f"the most likely token is the same at less than {_percent(agreement.LEAST_SHARE)} of positions",
        f"a perplexity is off by more than {_percent(agreement.MOST_PERPLEXITY_CHANGE)}",
        f"shares more than {_percent(leakage.MOST_SHARED)} of its passages of {leakage.SEQUENCE_WORDS} words",
        f"never above {uncertainty.HIGHEST_DECAY:g} unless r₁ is",
        f"r₁ above {uncertainty.AUTOCORRELATED_ABOVE:g} is flagged `autocorrelated`",
        f"flagged `slow_changes` if r₁ is above {uncertainty._SLOW_ABOVE:g}",
        f"scatter by {uncertainty._SLOW_EXCESS:g} times what r₁ and φ imply",
        f"an assumed variation of {_percent(comparison.ASSUMED_START_U)} (1 σ) between starts",
        f"stretched by 1 + {clusters._STRETCH:g}·|skewness|",
    ],
    "compare.md": [
        f"`--threshold {_percent(DEFAULT_THRESHOLD).replace(' ', '')}`",
        f"starts are assumed to differ by {_percent(comparison.ASSUMED_START_U)} (1 σ)",
        f"whose error is in every ratio: {_percent(ratios.MODEL_U)} (1 σ)",
        f"{ratios.MODEL_U:g} ⊕ {ratios._LOAD_U:.2f}·|ln(load ratio)|",
        f"one of {_percent(advice.AS_GOOD)} would have been detected",
        f"its interval begins beyond {advice._BEYOND_DRIFT:g} times",
        f"limited to {_percent(DEFAULT_MAX_LOSS)} more perplexity",
        f"with a chance of {_percent(comparison.POWER)}",
    ],
    "profiles.md": [
        f"at most {matrix.MOST_CELLS:,} combinations before include and exclude",
        f"at most {matrix.MOST_VALUES:,} values of one setting",
        f"are cut to {reference.MOST_PROMPT_TOKENS} tokens",
        f"prompts of {reference.RANDOM_PROMPT_TOKENS} random token ids",
    ],
    "formats.md": [
        f"`--option points={renderers.POINTS}`",
        f"`--option tokens={renderers.TOKENS}`",
        f"With more than {bars.MOST_BARS} cells, a strip",
        f"bars show the best {bars.TOP}",
        f"The readings of the first {MOST_TIMELINES} cells",
        f"With more than {MOST_WRITTEN} cells, folded parts",
    ],
    "answer.md": [f"If more than {_percent(MUCH_DISTURBED)} of the blocks were disturbed"],
    "limits.md": [f"at least {caches._LEAST_BYTES / _MIB:g} MiB and at most an eighth of the free memory"],
    "measure.md": [
        f"(some {calibration._ENOUGH_CHANGES} changes, {calibration.QUICK_SECONDS:g} s at most)",
        "it pauses after a minute without an open window",
    ],
    "melodi.md": [
        f"below {melodi_faults.LOWEST_POWER_W:g} W or above {melodi_faults.HIGHEST_POWER_W / 1000:g} kW",
        f"from {bootstrap.RESAMPLES:,} resamples of the prompts",
    ],
    "plugins.md": [f"An import that waits or loops for more than {IMPORT_LIMIT_S:g} s is interrupted"],
    "runtime-protocol.md": [f"answer at once (within {link.GREETING_S:g} s)"],
    "sensors.md": [f"between two reads, {PERF_HZ:g} per second"],
}
_CASES: Final = [(name, sentence) for name, sentences in _SENTENCES.items() for sentence in sentences]


@pytest.mark.parametrize(("name", "sentence"), _CASES, ids=[sentence[:40] for _, sentence in _CASES])
def test_the_page_states_the_number_of_the_code(name: str, sentence: str) -> None:
    assert sentence in " ".join(prose(page(name)).split())


def test_what_the_pages_call_four_and_a_minute_is_that_in_the_code() -> None:
    assert counters.READS_PER_WRAP == 4
    assert gauges._WIDEST_GAP == 4
    assert watch._REST_AFTER_S == 60
    assert round(1 / caches._MOST_OF_MEMORY) == 8
