"""What each flag means, in words for a reader who has not read the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Flag → what it says about the figures. The protocol's own numbers stand in the profile.
EXPLANATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "contended": "other processes used the CPU during the block, also in its last repeat; part of its time and "
        "energy is theirs",
        "repeated": "blocks that other processes disturbed were repeated; the last repeat counts, and the record "
        "keeps all of them",
        "anchor": "the cell also took turns in another group, so that cells that do not fit into memory together can "
        "be compared",
        "throttled": "the processor or accelerator lowered its clock during the block: the figures describe a "
        "machine limited by heat or power",
        "no_thermal_gate": "no temperature could be read, so blocks did not wait for the machine to cool down",
        "thermal_gate_timeout": "the temperature did not settle within the time limit; the block started anyway",
        "no_steady_state": "the warm-up reached its limit before the speed was steady",
        "disagrees": "a full-precision cell that differs from the reference by more than rounding: it may not run "
        "the same model, and its other figures are then no comparison of runtimes",
        "idle_drift": "idle power before and after the blocks differed too much for a net energy",
        "insufficient_resolution": "the window is too short for the sensor's update period; its energy is usable "
        "only within a fit over many windows",
        "coarse_resolution": "the window is long enough for 5 % of its energy but not for 1 %; longer blocks would "
        "help",
        "samples_missing": "the sampler has no reading around or within the window, so its energy is null",
        "sensor_lost": "the sensor could not be read at an edge of the window; its energy is null",
        "empty_window": "the window has no length; its energy is null",
        "no_windows": "the phase has no window in this block",
        "no_counted_channel": "no channel enters the total, so there is none",
        "forked": "the process forked within the window, so its readings are of two processes",
        "children_not_counted": "work done in child processes is not in this figure",
        "margins_counted": "idle time before and after each request is inside its energy, as the protocol asks: it "
        "is more than the work itself took",
        "counter_frozen": "the counter did not change while it was watched, so its readings are not used; its energy "
        "is null",
        "counter_ambiguous": "the counter may have wrapped more than once between reads; the window's energy is null",
        "counter_reset": "the counter jumped, back without a wrap or further than any power explains (driver reload, "
        "suspend); the window's energy is null",
        "power_implausible": "the gauge showed no power, less than none or more than any machine draws; the window's "
        "energy is null",
        "sensor_saturated": "the gauge stood at its full scale: the power was that or more, so the energy is a lower "
        "bound",
        "gauge_integrated": "the energy is polled power integrated over time; how the sensor averages is unknown, so "
        "short changes may be missed",
        "sampler_lost": "the sampler process died, so energy is null; time and memory stay",
        "autocorrelated": "consecutive blocks are correlated; the interval is widened for it, and longer blocks "
        "would help",
        "single_process": "all blocks come from one process; variation between process starts is not in the interval",
        "few_processes": "fewer than three processes, too few to estimate the variation between their starts; the "
        "interval has it only as scatter between blocks",
        "time_budget": "stopped at the profile's time budget before reaching the target precision",
        "target_not_reached": "stopped at max_blocks before reaching the target precision",
        "resumed": "the run was interrupted and resumed; blocks of both parts are together",
        "edges_corrected": "the counter's mean lateness at both edges of a window is corrected by the power before "
        "the window and at its end",
        "simulator": "energy of the machine that ran a simulation: it is the simulator's, and in no figure of the "
        "simulated hardware",
        "input_range": "computed by a model: low and high are the range that its inputs allow, not a statistical "
        "interval",
        "no_energy_model": "the simulation gives no energy",
        "single_block": "one block only, so there is no scatter to derive an interval from",
        "no_blocks": "no block was measured",
        "systematic": "the uncertainty of the sensor's scale is in the interval",
        "sensor_slow": "a sensor took too long to be read and was read less often, so that the others were not late; "
        "an event of the cell names it",
        "parts_missing": "the total lacks a domain that cannot be read or whose counter does not change; the "
        "channel's note names it",
        "accuracy_undeclared": "a plugin's sensor that says nothing of how far it may be off: its energy may be wrong "
        "by more than the interval",
        "update_period_unverified": "how often the sensor changes is as its probe declares; it was not measured",
        "incomplete_total": "a counted channel gave nothing, so the total is null",
        "no_idle_baseline": "no idle power was measured, so net energy is null",
        "update_period_unknown": "how often the sensor changes is unknown, so no window can be judged too short for it",
        "not_interleaved": "the blocks of the cells did not take turns, so drift of the machine may look like a "
        "difference between cells",
        "slow_changes": "blocks change slowly (1/f noise, or clock states that last, may be behind it): the interval "
        "is widened, and may still hold less often than 95 %",
        "unequal_work": "blocks did unequal work, which biases their ratio of sums; the bias is in the interval",
        "too_few_rounds": "the cells share one round of turns only, too few for an interval",
        "start_spread_assumed": "fewer than three processes of a cell: an assumed spread from start to start is in "
        "the interval of the comparison",
        "through_anchor": "the cells were measured in different groups and are compared through a cell that took "
        "turns with both",
        "model_error": "the error of the estimate's model, 20 % (1 σ) or more, is in the interval of the ratio",
        "time_derived": "estimated at equal power, the ratio of energies is the ratio of times; the model's error is "
        "in its interval",
        "run_to_run": "the spread from run to run that was measured on this machine is in the interval",
        "incomplete_blocks": "blocks in which a sensor gave nothing are left out of the figure",
        "unfinished": "the cell has not ended (its run continues or was stopped); figures cover the blocks on disk",
    }
)

#: Flags in the order in which a reader should hear of them; others come after these.
SEVEREST: Final = (
    "disagrees",
    "counter_frozen",
    "counter_reset",
    "counter_ambiguous",
    "power_implausible",
    "sensor_saturated",
    "sampler_lost",
    "sensor_lost",
    "parts_missing",
    "margins_counted",
    "incomplete_total",
    "contended",
    "throttled",
    "unfinished",
    "single_process",
    "too_few_rounds",
    "slow_changes",
    "idle_drift",
    "insufficient_resolution",
    "samples_missing",
    "update_period_unverified",
    "no_steady_state",
    "few_processes",
    "autocorrelated",
    "target_not_reached",
    "time_budget",
    "sensor_slow",
    "resumed",
)


def severity(flag: str) -> int:
    """The place of a flag in what a reader should hear first; 0 comes first."""
    return SEVEREST.index(flag) if flag in SEVEREST else len(SEVEREST)


def explain(flag: str) -> str:
    """The flag in plain words; one that is not known here is shown as it is."""
    return EXPLANATIONS.get(flag, flag)
