"""``joulebench selftest``."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import echo_json, json_option, set_option

if TYPE_CHECKING:
    from joulebench.rail.study import RailStudy
    from joulebench.selftest import SelfComparison, SelfTest


@click.command(
    epilog=examples(
        "joulebench selftest",
        "joulebench selftest --profile quick --set protocol.min_blocks=60",
        "joulebench selftest --runs 5",
        "joulebench selftest --rail --cells 200",
    )
)
@click.option("--rail", is_flag=True, help="Test the statistics on simulated machines of known energy instead.")
@click.option("--cells", type=click.IntRange(min=1), help="With --rail: cells of each scenario.  [1000]")
@click.option("--seed", type=click.IntRange(min=0), help="With --rail: seed of the simulation.  [0]")
@click.option(
    "--scenario",
    "files",
    multiple=True,
    metavar="FILE.toml",
    help="With --rail: only this scenario (a file or a shipped name). Repeatable.",
)
@click.option("--pairs", type=click.IntRange(min=0), help="With --rail: pairs of cells.  [200]")
@click.option("--windows", type=click.IntRange(min=0), help="With --rail: windows with counter faults.  [500000]")
@click.option(
    "--profile", metavar="PROFILE", shell_complete=completing.profiles, help="Take the cell from this profile."
)
@click.option(
    "--runs",
    type=click.IntRange(min=3),
    metavar="N",
    help="Measure how much N runs differ, and store that for this machine.",
)
@set_option
@json_option
def selftest(
    rail: bool,
    cells: int | None,
    seed: int | None,
    files: tuple[str, ...],
    pairs: int | None,
    windows: int | None,
    profile: str | None,
    runs: int | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Find the smallest difference that this machine can show; with --rail, test the statistics.

    One cell is measured twice under two names. The two must not differ significantly, and the
    smallest difference that would have been significant is what this machine can resolve.

    With --runs, two cells (the first two backends that work here) are measured in N runs. How much
    their ratio varies beyond each run's own interval is the spread from run to run: it is stored
    in the cache for this machine, later sessions record it, and claims include it.

    Exit code: 0 passed, 1 a significant difference between equal cells (with --rail: a guarantee
    that does not hold), 2 usage error.
    """
    simulated = {"--cells": cells, "--seed": seed, "--scenario": files or None, "--pairs": pairs, "--windows": windows}
    if rail:
        if profile is not None or overrides or runs is not None:
            raise click.UsageError("--profile, --set and --runs are for the test of this machine")
        return _rail(cells, seed or 0, files, pairs, windows, as_json)
    for option, value in simulated.items():
        if value is not None:
            raise click.UsageError(f"{option} needs --rail")
    if runs is not None:
        return _spread(profile, overrides, runs, as_json)
    return _machine(profile, overrides, as_json)


# ---------------------------------------------------------------------------------------------


def _rail(
    cells: int | None, seed: int, files: tuple[str, ...], pairs: int | None, windows: int | None, as_json: bool
) -> int:
    from joulebench.rail import study as rail_study
    from joulebench.rail.files import find_scenario, shipped_scenarios

    scenarios = tuple(map(find_scenario, files)) if files else shipped_scenarios()
    # A scenario of one's own is looked at for itself; the rest is not about it.
    others = 0 if files else None
    start = time.monotonic()

    def progress(share: float, doing: str) -> None:
        spent = time.monotonic() - start
        click.echo(f"[{spent:6.1f} s] {100 * share:3.0f} %  {doing}", err=True)

    study = rail_study.study(
        scenarios,
        cells=cells or rail_study.DEFAULT_CELLS,
        pairs=_chosen(pairs, others, rail_study.DEFAULT_PAIRS),
        windows=_chosen(windows, others, rail_study.DEFAULT_WINDOWS),
        seed=seed,
        progress=progress,
    )
    if as_json:
        echo_json(_rail_json(study))
    else:
        rail_study.write_study(study, click.echo)
    return 0 if study.good() else 1


def _chosen(*values: int | None) -> int:
    return next((value for value in values if value is not None), 0)


def _rail_json(study: RailStudy) -> dict[str, object]:
    rows = [
        {
            **asdict(row),
            "outside": row.outside(),
            "outside_beyond_chance": row.outside(by_chance=False),
            "too_many_false": row.too_many_false(),
        }
        for row in study.coverage
    ]
    return {
        "seed": study.seed,
        "coverage": rows,
        "pairs": [{**asdict(pairs), "good": pairs.good()} for pairs in study.pairs],
        "counter_faults": asdict(study.faults) if study.faults else None,
        "good": study.good(),
    }


# ---------------------------------------------------------------------------------------------


def _machine(profile: str | None, overrides: tuple[str, ...], as_json: bool) -> int:
    import tempfile

    from joulebench.commands.progress import ProgressDisplay
    from joulebench.registry.loading import default_registry
    from joulebench.selftest import advice, run_twins, twin_profile

    registry = default_registry()
    twins = twin_profile(registry, profile, overrides)
    progress = ProgressDisplay(quiet=as_json and not sys.stderr.isatty())
    with tempfile.TemporaryDirectory(prefix="joulebench-selftest-") as folder:
        result = run_twins(twins, registry, Path(folder), progress)
    progress.end()
    if as_json:
        compared = [_comparison_json(pair) for pair in result.compared]
        echo_json({**asdict(result), "compared": compared, "good": result.good(), "advice": advice(result)})
    else:
        _say(result, advice(result))
    return 0 if result.good() else 1


def _comparison_json(pair: SelfComparison) -> dict[str, object]:
    comparison = pair.comparison
    found = {**comparison._asdict(), "smallest_detectable": comparison.smallest_detectable}
    return {**asdict(pair), "comparison": found}


def _spread(profile: str | None, overrides: tuple[str, ...], runs: int, as_json: bool) -> int:
    import tempfile

    from joulebench.commands.progress import ProgressDisplay
    from joulebench.registry.loading import default_registry
    from joulebench.runs.machine import describe_machine
    from joulebench.runs.spread import keep
    from joulebench.selftest import measure_spread, pair_profile

    registry = default_registry()
    pair = pair_profile(registry, profile, overrides)
    progress = ProgressDisplay(quiet=as_json and not sys.stderr.isatty())
    with tempfile.TemporaryDirectory(prefix="joulebench-selftest-") as folder:
        spreads = measure_spread(pair, registry, Path(folder), progress, runs)
    progress.end()
    widest = max(spreads, key=lambda spread: spread.sigma)
    file = keep(widest, describe_machine())
    if as_json:
        echo_json({"spreads": [asdict(spread) for spread in spreads], "kept": asdict(widest), "file": str(file)})
        return 0
    for spread in spreads:
        ratios = ", ".join(f"{ratio:.4f}" for ratio in spread.ratios)
        click.echo(f"{spread.quantity}, {spread.cells[0]}/{spread.cells[1]} in {runs} runs: {ratios}")
        click.echo(
            f"  from run to run {100 * spread.sigma:.2g} % (one standard deviation) "
            f"beyond the {100 * spread.within:.2g} % within a run"
        )
    click.echo(f"stored for this machine: {file}")
    return 0


def _say(result: SelfTest, lines: list[str]) -> None:
    click.echo(f"{result.cell}, measured twice in turns, {result.blocks} blocks each")
    for comparison in result.compared:
        click.echo(_comparison_text(comparison))
    if not result.good():
        click.echo("two EQUAL cells differ significantly: do not trust differences measured on this machine")
    else:
        click.echo("passed: two equal cells were not found different")
    for line in lines:
        click.echo(f"  to resolve more: {line}")


def _comparison_text(comparison: SelfComparison) -> str:
    compared = comparison.comparison
    kind = (
        f"{comparison.quantity} ({comparison.provenance}), {comparison.unit}"
        if comparison.provenance
        else (f"{comparison.quantity}, {comparison.unit}")
    )
    if compared.ratio is None or compared.low is None or compared.high is None:
        return f"{kind}: inconclusive ({', '.join(compared.flags)})"
    detectable = compared.smallest_detectable
    least = "" if detectable is None else f"; smallest detectable difference: {100 * detectable:.2g} %"
    return f"{kind}: a/b = {compared.ratio:.4f}, 95 % interval {compared.low:.4f} … {compared.high:.4f}{least}"
