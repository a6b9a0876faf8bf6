"""What each flag means, in words for a reader who has not read the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class FlagMeaning:
    """What a flag says about the figures; the protocol's own numbers stand in the profile.

    ``grade`` is the best grade of trust with it (``None``: it decides none), ``reason`` says why in
    the answer, ``cure`` what would help.
    """

    text: str
    grade: Literal["B", "C", "D"] | None = None
    reason: str = ""
    cure: str = ""


#: Every flag that reports explain, in the order in which a reader should hear of them.
FLAGS: Final[Mapping[str, FlagMeaning]] = MappingProxyType(
    {
        "disagrees": FlagMeaning(
            "a full-precision cell that differs from the reference by more than rounding: it may not run the same "
            "model, and its other figures are then no comparison of runtimes",
            "D",
            "a full-precision cell does not compute the reference's tokens",
            "check its conversion",
        ),
        "counter_frozen": FlagMeaning(
            "the counter did not change while it was watched, so its readings are not used; its energy is null"
        ),
        "counter_reset": FlagMeaning(
            "the counter jumped, back without a wrap or further than any power explains (driver reload, suspend); the"
            " window's energy is null"
        ),
        "counter_ambiguous": FlagMeaning(
            "the counter may have wrapped more than once between reads; the window's energy is null"
        ),
        "power_implausible": FlagMeaning(
            "the gauge showed no power, less than none or more than any machine draws; the window's energy is null"
        ),
        "elsewhere": FlagMeaning(
            "the server runs on another machine, or its process cannot be seen here: its times are known, its energy, "
            "memory and CPU time are not"
        ),
        "sampler_lost": FlagMeaning("the sampler process died, so energy is null; time and memory stay"),
        "sensor_lost": FlagMeaning("the sensor could not be read at an edge of the window; its energy is null"),
        "incomplete_total": FlagMeaning("a counted channel gave nothing, so the total is null"),
        "samples_missing": FlagMeaning("the sampler has no reading around or within the window, so its energy is null"),
        "parts_missing": FlagMeaning(
            "the total lacks a domain that cannot be read or whose counter does not change; the channel's note names "
            "it",
            "C",
            "the energy lacks a part of the machine that could not be read",
            "joulebench doctor",
        ),
        "sensor_saturated": FlagMeaning(
            "the gauge stood at its full scale: the power was that or more, so the energy is a lower bound",
            "C",
            "a gauge stood at its full scale: a lower bound",
            "a meter of a larger range",
        ),
        "margins_counted": FlagMeaning(
            "idle time before and after each request is inside its energy, as the protocol asks: it is more than the "
            "work itself took"
        ),
        "contended": FlagMeaning(
            "other processes used the CPU during the block, also in its last repeat; part of its time and energy is "
            "theirs"
        ),
        "throttled": FlagMeaning(
            "the processor or accelerator lowered its clock during the block: the figures describe a machine limited "
            "by heat or power"
        ),
        "unfinished": FlagMeaning(
            "the cell has not ended (its run continues or was stopped); figures cover the blocks on disk",
            "C",
            "the run has not ended",
            "joulebench run --resume SESSION",
        ),
        "single_process": FlagMeaning(
            "all blocks come from one process; variation between process starts is not in the interval",
            "C",
            "one process a cell",
            "--set protocol.processes=3",
        ),
        "slow_changes": FlagMeaning(
            "blocks change slowly (1/f noise, or clock states that last, may be behind it): the interval is widened, "
            "and may still hold less often than 95 %",
            "C",
            "blocks change slowly, so the interval may hold less often than 95 %",
            "more blocks",
        ),
        "update_period_unverified": FlagMeaning(
            "how often the sensor changes is as its probe declares; it was not measured",
            "C",
            "how often the sensor changes was not verified",
            "longer blocks",
        ),
        "too_few_rounds": FlagMeaning("the cells share one round of turns only, too few for an interval"),
        "idle_drift": FlagMeaning("idle power before and after the blocks differed too much for a net energy"),
        "insufficient_resolution": FlagMeaning(
            "the window is too short for the sensor's update period; its energy is usable only within a fit over many"
            " windows"
        ),
        "no_steady_state": FlagMeaning(
            "the warm-up reached its limit before the speed was steady",
            "B",
            "the speed was not steady after the warm-up",
            "a longer warm-up",
        ),
        "few_processes": FlagMeaning(
            "fewer than three processes, too few to estimate the variation between their starts; the interval has it "
            "only as scatter between blocks",
            "B",
            "fewer than three processes a cell",
            "--set protocol.processes=3",
        ),
        "target_not_reached": FlagMeaning(
            "stopped at max_blocks before reaching the target precision",
            "B",
            "stopped at max_blocks before the target precision",
            "more blocks",
        ),
        "time_budget": FlagMeaning(
            "stopped at the profile's time budget before reaching the target precision",
            "B",
            "stopped at the time budget before the target precision",
            "a larger time_budget_s",
        ),
        "no_thermal_gate": FlagMeaning(
            "no temperature could be read, so blocks did not wait for the machine to cool down",
            "B",
            "no temperature could be read",
            "a machine with a temperature sensor",
        ),
        "gauge_integrated": FlagMeaning(
            "the energy is polled power integrated over time; how the sensor averages is unknown, so short changes "
            "may be missed",
            "B",
            "energy is polled power, integrated",
            "a sensor that counts energy",
        ),
        "autocorrelated": FlagMeaning(
            "consecutive blocks are correlated; the interval is widened for it, and longer blocks would help"
        ),
        "sensor_slow": FlagMeaning(
            "a sensor took too long to be read and was read less often, so that the others were not late; an event of"
            " the cell names it"
        ),
        "resumed": FlagMeaning("the run was interrupted and resumed; blocks of both parts are together"),
        "repeated": FlagMeaning(
            "blocks that other processes disturbed were repeated; the last repeat counts, and the record keeps all of"
            " them"
        ),
        "anchor": FlagMeaning(
            "the cell also took turns in another group, so that cells that do not fit into memory together can be "
            "compared"
        ),
        "thermal_gate_timeout": FlagMeaning(
            "the temperature did not settle within the time limit; the block started anyway"
        ),
        "coarse_resolution": FlagMeaning(
            "the window is long enough for 5 % of its energy but not for 1 %; longer blocks would help"
        ),
        "empty_window": FlagMeaning("the window has no length; its energy is null"),
        "no_windows": FlagMeaning("the phase has no window in this block"),
        "no_counted_channel": FlagMeaning("no channel enters the total, so there is none"),
        "forked": FlagMeaning("the process forked within the window, so its readings are of two processes"),
        "children_not_counted": FlagMeaning("work done in child processes is not in this figure"),
        "edges_corrected": FlagMeaning(
            "the counter's mean lateness at both edges of a window is corrected by the power before the window and at"
            " its end"
        ),
        "simulator": FlagMeaning(
            "energy of the machine that ran a simulation: it is the simulator's, and in no figure of the simulated "
            "hardware"
        ),
        "input_range": FlagMeaning(
            "computed by a model: low and high are the range that its inputs allow, not a statistical interval"
        ),
        "no_energy_model": FlagMeaning("the simulation gives no energy"),
        "single_block": FlagMeaning("one block only, so there is no scatter to derive an interval from"),
        "no_blocks": FlagMeaning("no block was measured"),
        "systematic": FlagMeaning("the uncertainty of the sensor's scale is in the interval"),
        "accuracy_undeclared": FlagMeaning(
            "a plugin's sensor that says nothing of how far it may be off: its energy may be wrong by more than the "
            "interval"
        ),
        "no_idle_baseline": FlagMeaning("no idle power was measured, so net energy is null"),
        "update_period_unknown": FlagMeaning(
            "how often the sensor changes is unknown, so no window can be judged too short for it"
        ),
        "not_interleaved": FlagMeaning(
            "the blocks of the cells did not take turns, so drift of the machine may look like a difference between "
            "cells"
        ),
        "unequal_work": FlagMeaning(
            "blocks did unequal work, which biases their ratio of sums; the bias is in the interval"
        ),
        "start_spread_assumed": FlagMeaning(
            "fewer than three processes of a cell: an assumed spread from start to start is in the interval of the "
            "comparison"
        ),
        "through_anchor": FlagMeaning(
            "the cells were measured in different groups and are compared through a cell that took turns with both"
        ),
        "model_error": FlagMeaning(
            "the error of the estimate's model, 20 % (1 σ) or more, is in the interval of the ratio"
        ),
        "time_derived": FlagMeaning(
            "estimated at equal power, the ratio of energies is the ratio of times; the model's error is in its "
            "interval"
        ),
        "run_to_run": FlagMeaning("the spread from run to run that was measured on this machine is in the interval"),
        "incomplete_blocks": FlagMeaning("blocks in which a sensor gave nothing are left out of the figure"),
    }
)
_PLACES: Final = {flag: place for place, flag in enumerate(FLAGS)}


def severity(flag: str) -> int:
    """The place of a flag in what a reader should hear first; 0 comes first, unknown ones last."""
    return _PLACES.get(flag, len(FLAGS))


def explain(flag: str) -> str:
    """The flag in plain words; one that is not known here is shown as it is."""
    return FLAGS[flag].text if flag in FLAGS else flag
