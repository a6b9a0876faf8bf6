"""What each flag means, in words for a reader who has not read the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Flag → what it says about the figures. The protocol's own numbers stand in the profile.
EXPLANATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "contended": "other processes used the processor during the block, so its time and energy "
        "are partly theirs, also in its last repeat",
        "repeated": "blocks that others disturbed were measured again; the last repeat counts, and "
        "the record has all of them",
        "anchor": "the cell took this turn in the rounds of another group, so that cells that do not fit into "
        "memory together can be compared by way of it",
        "throttled": "the processor or accelerator lowered its clock within the block, so the "
        "figures describe a machine that is too hot or limited in power",
        "no_thermal_gate": "no temperature could be read, so blocks did not wait for the machine "
        "to cool to the same state",
        "thermal_gate_timeout": "the temperature did not settle in the time allowed, and the "
        "block started all the same",
        "no_steady_state": "the warm-up ended by its limit before the speed was steady",
        "disagrees": "a full-precision cell that does not say the same as the reference, beyond "
        "what rounding explains: it may not run the same model, and its other figures are then no "
        "comparison of runtimes",
        "idle_drift": "idle power before and after the blocks differed too much, so net energy is refused",
        "insufficient_resolution": "the window is too short for the sensor's update period; its "
        "energy is usable only within a fit over many windows",
        "coarse_resolution": "the window is long enough for 5 % of its energy but not for 1 %; "
        "longer blocks would help",
        "samples_missing": "the sampler has no reading around or within the window, so its energy is null",
        "sensor_lost": "the sensor could not be read at an edge of the window; its energy is null",
        "empty_window": "the window has no length; its energy is null",
        "no_windows": "the phase has no window in this block",
        "no_counted_channel": "no channel enters the total, so there is none",
        "forked": "the process forked within the window, so its readings are of two processes",
        "children_not_counted": "work done in child processes is not in this figure",
        "margins_counted": "idle time before and after each request is inside its energy, as the "
        "protocol asks: it is more than the work itself took",
        "counter_frozen": "the counter never changed in all the time it was watched, so nothing "
        "that it says is believed; its energy is null",
        "counter_ambiguous": "the counter may have wrapped more than once between reads; the window's energy is null",
        "counter_reset": "the counter jumped back without a wrap (driver reload, suspend); the window's energy is null",
        "gauge_integrated": "the energy is polled power integrated over time; how the sensor "
        "averages is unknown, so short changes may be missed",
        "sampler_lost": "the sampler process died, so energy is null; time and memory stay",
        "autocorrelated": "neighbouring blocks resemble each other strongly; the interval is "
        "widened for it, and longer blocks would help",
        "single_process": "all blocks come from one process; placement and memory layout differ "
        "from start to start, and that spread is not in the interval",
        "few_processes": "fewer than three processes, too few to estimate the spread between "
        "them; it is in the interval only as scatter between blocks",
        "time_budget": "the profile's time budget ended before the interval was narrow enough; "
        "the width reached is what is reported",
        "target_not_reached": "the most blocks allowed were measured before the interval was "
        "narrow enough; the width reached is what is reported",
        "resumed": "the run was interrupted and went on later; blocks of both parts are together",
        "edges_corrected": "the counter's mean lateness at both edges of a window is made good "
        "from the power before the window and at its end",
        "simulator": "energy of the machine that ran a simulation: it is the simulator's, and in "
        "no figure of the simulated hardware",
        "input_range": "computed by a model; low and high are what the ranges of its inputs "
        "allow, no statistical interval",
        "no_energy_model": "the simulation tells no energy, so there is none",
        "single_block": "one block only, so there is no scatter to make an interval of",
        "no_blocks": "no block was measured",
        "systematic": "the uncertainty of the sensor's scale is in the interval",
        "parts_missing": "the total lacks a domain that cannot be read or whose counter does not change; "
        "the channel's note names it",
        "update_period_unverified": "how often the sensor changes is as its probe declares; nobody has measured it",
        "incomplete_total": "a counted channel gave nothing, so the total is null",
        "no_idle_baseline": "no idle power was measured, so net energy is null",
        "update_period_unknown": "how often the sensor changes is not known, so no window can be "
        "judged too short for it",
        "not_interleaved": "the blocks of the cells did not take turns, so drift of the machine "
        "may look like a difference between cells",
        "unequal_work": "blocks did unequal work, which biases their ratio of sums; the bias is in the interval",
        "too_few_rounds": "the cells share one round of turns only, too few for an interval",
        "start_spread_assumed": "fewer than three processes of a cell: an assumed spread from start to start "
        "is in the interval of the comparison",
        "through_anchor": "the cells were measured in different groups and are compared through a cell "
        "that took turns with both",
        "model_error": "the error of the estimate's model, 20 % (1 σ) or more, is in the interval of the ratio",
        "time_derived": "the ratio of estimated energies is that of times once more; the model's error is in "
        "its interval",
        "run_to_run": "the spread from run to run that was measured on this machine is in the interval",
        "incomplete_blocks": "blocks in which a sensor gave nothing are left out of the figure",
        "unfinished": "the cell has not ended (the run goes on or was cut off); figures cover the "
        "blocks that are on disk",
    }
)


def explain(flag: str) -> str:
    """The flag in plain words; one that is not known here is shown as it is."""
    return EXPLANATIONS.get(flag, flag)
