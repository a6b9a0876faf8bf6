"""What is said of sensors that are missing, silent, incomplete, or that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import make_session
import pytest
from click.testing import CliRunner
from make_session import PROFILE, RAPL_ABSENT, Cell

from joulebench.commands.report import report
from joulebench.session import Session
from joulebench_reports.notes.trust import banner, unmeasured
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.figures import SessionSummary

UNASKED = {"probe": "sim", "available": False, "reason": "switched off", "cure": "[probe.sim] enabled = true"}
MEASURED = {"energies": {"measured": 1.0}}


def summary(folder: Path, cell: Cell, **columns: object) -> SessionSummary:
    return summarise(Session(make_session.write(folder / "s", [cell], **columns)))  # type: ignore[arg-type]


def test_sensors_without_a_figure_are_not_called_no_sensor(tmp_path: Path) -> None:
    frozen = Cell("a", "a", energies={"measured": None, "estimated": 1.0}, energy_flags=["counter_frozen"])
    text = banner(summary(tmp_path, frozen))
    assert "no energy sensor" not in text
    assert "the energy sensors gave no figure: counter_frozen" in text
    assert text.startswith("Energy: ESTIMATED")
    assert "no energy sensor" in banner(summary(tmp_path / "none", Cell("a", "a")))


def test_a_total_that_lacks_a_package_says_so_in_the_first_lines(tmp_path: Path) -> None:
    short = Cell("a", "a", **MEASURED, energy_flags=["parts_missing"])
    assert "the total lacks a part" in banner(summary(tmp_path, short))
    assert "lacks" not in banner(summary(tmp_path / "whole", Cell("a", "a", **MEASURED)))


def terms(summary: SessionSummary) -> dict[str, str]:
    return {note.term: note.text for note in unmeasured(summary)}


def test_probes_that_nobody_asked_for_are_only_named_where_energy_was_measured(tmp_path: Path) -> None:
    notes = terms(summary(tmp_path, Cell("a", "a", **MEASURED)))
    assert "probe rapl" not in notes
    assert notes["other probes"].startswith("rapl cannot be read here")
    assert "no /sys/class/powercap" in terms(summary(tmp_path / "estimated", Cell("a", "a")))["probe rapl"]


@pytest.mark.parametrize(
    "asked", [{"profile_text": f"{PROFILE}[probe.rapl]\n"}, {"overrides": ["probe.rapl.rate_hz=100"]}]
)
def test_a_probe_that_was_asked_for_keeps_its_reason(tmp_path: Path, asked: dict[str, object]) -> None:
    assert "no /sys/class/powercap" in terms(summary(tmp_path, Cell("a", "a", **MEASURED), **asked))["probe rapl"]


def test_a_probe_that_waits_to_be_asked_is_no_lack(tmp_path: Path) -> None:
    result = summary(tmp_path, Cell("a", "a"), probes=[RAPL_ABSENT, UNASKED])
    assert "sim" not in banner(result)
    assert "probe sim" not in terms(result)
    asked = summary(tmp_path / "x", Cell("a", "a"), probes=[UNASKED], profile_text=f"{PROFILE}[probe.sim]\n")
    assert "probe sim" in terms(asked)


@pytest.mark.parametrize(
    ("name", "beginning"), [("r.html", "<!doctype"), ("r.md", "# "), ("r.csv", "id,"), ("r.json", "{"), ("r", "smollm")]
)
def test_the_format_is_that_of_the_files_suffix(tmp_path: Path, session: Session, name: str, beginning: str) -> None:
    file = tmp_path / name
    done = CliRunner().invoke(report, [str(session.path), "-o", str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert file.read_text("utf-8").startswith(beginning)


def test_a_suffix_that_no_format_writes_is_noted(tmp_path: Path, session: Session) -> None:
    file = tmp_path / "x.docx"
    answer = CliRunner().invoke(report, [str(session.path), "-o", str(file)])
    assert answer.exit_code == 0
    assert f"no format writes .docx files: {file} will be text" in answer.stderr
    assert file.read_text(encoding="utf-8").startswith("smollm2-135m")


def test_a_format_that_is_named_outranks_the_suffix(tmp_path: Path, session: Session) -> None:
    file = tmp_path / "r.html"
    CliRunner().invoke(report, [str(session.path), "-o", str(file), "--format", "markdown"], catch_exceptions=False)
    assert file.read_text("utf-8").startswith("# ")
