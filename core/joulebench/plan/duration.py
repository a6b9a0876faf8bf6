"""How long a run takes, at least and at most, for the plan and for what is left of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from joulebench.plan.cells import Duration, PlannedCell, PlannedReference
from joulebench.profile.measurement import MeasurementProtocol
from joulebench.profile.reading import Profile

#: What a plan assumes of a load, in seconds, for its estimate of the time.
ASSUMED_LOAD_S: Final = 8.0
#: And of a token in the agreement check, written once and read once more.
ASSUMED_TOKEN_S: Final = 0.03
#: How much slower than assumed a busy or small machine may load and compute.
SLOW_MACHINE: Final = 5.0
#: A block's length over its minimum: requests are whole.
BLOCK_EXCESS: Final = 1.3


def run_duration(
    profile: Profile, runnable: Sequence[PlannedCell], references: Mapping[str, PlannedReference]
) -> Duration:
    """The time of a run of these cells."""
    if not runnable:
        return Duration(0.0, 0.0)
    return _measuring(profile.measurement, len(runnable)) + _judging(profile, runnable, references)


def process_duration(protocol: MeasurementProtocol) -> Duration:
    """The load and the warm-up of a process."""
    warm_up = protocol.warm_up
    return Duration(ASSUMED_LOAD_S + warm_up.min_s, SLOW_MACHINE * ASSUMED_LOAD_S + max(warm_up.min_s, warm_up.max_s))


def _measuring(protocol: MeasurementProtocol, runnable: int) -> Duration:
    """Blocks of every cell, warm-ups, idle baselines and loads."""
    rule = protocol.stopping
    margins_s = protocol.margins.before_s + protocol.margins.after_s
    # The budget holds for repeats too; only margins are outside of it.
    most_blocks = rule.max_blocks * (1 + protocol.repeat_contended)
    blocks = Duration(
        min(rule.min_blocks * protocol.block_s * BLOCK_EXCESS, rule.time_budget_s) + rule.min_blocks * margins_s,
        rule.time_budget_s + most_blocks * margins_s,
    )
    process = process_duration(protocol)
    processes = Duration(rule.processes * process.minimum_s, rule.most_processes() * process.maximum_s)
    groups = 1 if protocol.turns else runnable
    # One baseline before each process of a group, and one after the last. Where memory does not
    # hold all cells at once, each of them may be a group of its own.
    idle = Duration(
        (groups * rule.processes + 1) * protocol.idle_s, (runnable * rule.most_processes() + 1) * protocol.idle_s
    )
    return (blocks + processes).times(runnable) + idle


def _judging(profile: Profile, runnable: Sequence[PlannedCell], references: Mapping[str, PlannedReference]) -> Duration:
    """Quality and agreement: once a model for its reference, once for equal cells."""
    quality_tokens = 0 if profile.quality is None else profile.quality.tokens
    scored = Duration(0.0, _distinct(runnable) * quality_tokens * ASSUMED_TOKEN_S)
    agreement = profile.agreement
    checked = [cell for cell in runnable if cell.model in references and references[cell.model].reason is None]
    if agreement is None or not checked:
        return scored
    models = len({cell.model for cell in checked})
    tokens = agreement.count * agreement.tokens
    least_s = models * ASSUMED_LOAD_S + (models + _distinct(checked)) * tokens * ASSUMED_TOKEN_S
    return scored + Duration(least_s, SLOW_MACHINE * least_s)


def _distinct(cells: Sequence[PlannedCell]) -> int:
    """Cells that differ in more than their workload: equal ones are judged once."""
    return len({repr((c.model, c.technique, c.backend, c.device, c.backend_settings)) for c in cells})
