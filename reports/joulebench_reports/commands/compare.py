"""``joulebench compare``. What it needs is imported when it is called."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from joulebench.api import examples, in_section
from joulebench.commands import completing
from joulebench_reports.commands.output import output_options, write_answer

if TYPE_CHECKING:
    from joulebench_reports.compare.side import MetricGroup, Side

_GROUPS: Final = ("energy", "time", "memory", "quality")


@in_section("Results")
@click.command(
    short_help="Show what became worse between two sessions",
    epilog=examples(
        "joulebench compare sessions/before latest --threshold energy=3%",
        "joulebench compare latest --save-baseline baseline.json",
        "joulebench compare baseline.json latest --format markdown",
    ),
)
@click.argument("baseline", shell_complete=completing.sessions)
@click.argument("current", required=False, shell_complete=completing.sessions)
@click.option(
    "--threshold",
    "given",
    multiple=True,
    metavar="[METRIC=]PERCENT",
    help="Change for the worse that counts, as 5% or energy=3%. Repeatable. Default: 5%.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(_GROUPS),
    help="Compare only energy, time, memory or quality. Repeatable. Default: all.",
)
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    metavar="NAME",
    help="Match cells that differ in this, such as backend.threads. Repeatable.",
)
@click.option("--strict", is_flag=True, help="Exit with 4 if a figure cannot be decided.")
@output_options
@click.option(
    "--save-baseline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save the figures of the one session as a baseline file; compare nothing.",
)
def compare(
    baseline: str,
    current: str | None,
    given: tuple[str, ...],
    metrics: tuple[MetricGroup, ...],
    ignored: tuple[str, ...],
    strict: bool,
    form: str | None,
    as_json: bool,
    output: Path | None,
    save_baseline: Path | None,
) -> int:
    """Find regressions from BASELINE to CURRENT: sessions, or files of --save-baseline.

    A figure regressed if it became worse by more than the threshold and the interval of the
    change excludes zero. Markdown is a comment for a pull request. Exit code 3: a regression; 1:
    nothing could be compared; 4: no regression, but with --strict a figure that cannot be decided.
    """
    from joulebench_reports.compare.baselines import save_baseline as save
    from joulebench_reports.compare.changes import compare_sides
    from joulebench_reports.compare.jsoncomparison import comparison_json
    from joulebench_reports.compare.report import comment, comparison_report

    thresholds = _thresholds(given)
    if save_baseline is not None:
        if current is not None:
            raise click.UsageError("--save-baseline takes one session, and compares nothing")
        save(_read(baseline), save_baseline)
        click.echo(f"wrote {save_baseline}", err=True)
        return 0
    if current is None:
        raise click.UsageError("missing argument 'CURRENT': what is compared with the baseline")
    compared = compare_sides(_read(baseline), _read(current), metrics or _GROUPS, thresholds, ignored)
    comparison = replace(compared, strict=strict)
    report, form = comparison_report(comparison), "json" if as_json else form
    write_answer(report, lambda: comparison_json(comparison), form, output, comment)
    return comparison.exit_code


def _read(place: str) -> Side:
    """A session's folder or address, or the file of a stored baseline."""
    from joulebench.session.places import open_session
    from joulebench_reports.compare.baselines import read_baseline
    from joulebench_reports.compare.sessions import side_of

    file = Path(place)
    return read_baseline(file) if file.is_file() else side_of(open_session(place))


def _thresholds(texts: tuple[str, ...]) -> dict[MetricGroup, float]:
    """The largest change that does not count, as a share, by metric; a bare one is for all."""
    thresholds: dict[MetricGroup, float] = {}
    for text in texts:
        match = re.fullmatch(r"(?:([a-z]+)=)?(\d+(?:\.\d+)?)\s*%", text.strip())
        if match is None:
            raise click.BadParameter(f"'{text}' is not a percentage such as 5% or energy=3%", param_hint="--threshold")
        group, share = match[1], float(match[2]) / 100
        if group is not None and group not in _GROUPS:
            raise click.BadParameter(f"no metric '{group}'; valid: {', '.join(_GROUPS)}", param_hint="--threshold")
        for known in _GROUPS:
            if group == known or (group is None and known not in thresholds):
                thresholds[known] = share
    return thresholds
