"""How long a run takes at least, for the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from joulebench.plan.cells import PlannedCell, PlannedReference
from joulebench.profile.reading import Profile

#: What a plan assumes of a load, in seconds, for its estimate of the time.
ASSUMED_LOAD_S: Final = 8.0
#: And of a token in the agreement check, written once and read once more.
ASSUMED_TOKEN_S: Final = 0.03


def least_time_s(
    profile: Profile, runnable: Sequence[PlannedCell], references: Mapping[str, PlannedReference]
) -> float:
    """Least time of a run of these cells, in seconds."""
    return _measuring_s(profile, len(runnable)) + _agreement_s(profile, runnable, references)


def _measuring_s(profile: Profile, runnable: int) -> float:
    """The first look's blocks of every cell, warm-ups, idle and loads."""
    protocol = profile.measurement
    rule, margins = protocol.stopping, protocol.margins
    blocks_s = min(rule.min_blocks * protocol.block_s * 1.3, rule.time_budget_s)
    blocks_s += rule.min_blocks * (margins.before_s + margins.after_s)
    per_process_s = ASSUMED_LOAD_S + protocol.warm_up.min_s
    groups = 1 if protocol.turns else runnable
    # One baseline before each process of a group, and one after the last.
    idle_s = (groups * rule.processes + 1) * protocol.idle_s
    return runnable * (blocks_s + rule.processes * per_process_s) + idle_s


def _agreement_s(
    profile: Profile, runnable: Sequence[PlannedCell], references: Mapping[str, PlannedReference]
) -> float:
    """Least time of the agreement check: once a model for its reference, once for equal cells."""
    agreement = profile.agreement
    checked = [cell for cell in runnable if cell.model in references and references[cell.model].reason is None]
    if agreement is None or not checked:
        return 0.0
    models = {cell.model for cell in checked}
    equal = {repr((cell.model, cell.technique, cell.backend, cell.device, cell.backend_settings)) for cell in checked}
    tokens = agreement.count * agreement.tokens
    return len(models) * ASSUMED_LOAD_S + (len(models) + len(equal)) * tokens * ASSUMED_TOKEN_S
