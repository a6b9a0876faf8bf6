"""Machines, sensors and workloads for the virtual rail, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Scenario:
    """A machine, its sensor and a cell's workload; plain values, so that a TOML table can say it.

    Noise and differences between processes are shares of the working power. ``stop_at`` is the
    relative half-width at which looks at 20, 40, … blocks may end the cell (0: always ``blocks``).
    """

    name: str
    what: str
    blocks: int = 40
    processes: int = 1
    stop_at: float = 0.0
    requests: int = 2
    prefill_tokens: int = 40
    decode_tokens: int = 60
    token_spread: float = 0.2
    prefill_s_per_token: float = 0.002
    decode_s_per_token: float = 0.005
    gap_s: float = 0.05
    idle_s: float = 10.0
    idle_w: float = 20.0
    idle_noise_w: float = 0.5
    idle_correlation_s: float = 0.2
    idle_shift_w: float = 0.0
    drift_w_per_s: float = 0.0
    prefill_w: float = 60.0
    decode_w: float = 40.0
    work_noise: float = 0.02
    work_correlation_s: float = 0.0
    process_noise: float = 0.0
    pulse_period_s: float = 0.0
    pulse_duty: float = 1.0
    sensor: Literal["counter", "gauge"] = "counter"
    period_s: float = 0.001
    jitter: float = 0.1
    stale_share: float = 0.0
    wraps_at: int = 0
    tick_s: float = 0.0
    max_power_w: float = 200.0


SCENARIOS: Final = (
    Scenario("constant", "RAPL-like counter, independent noise"),
    Scenario("stopping", "looks at 20, 40, 80, … until ± 0.5 %", stop_at=0.005),
    Scenario(
        "drift",
        "power creeps up by 1.5 W during the cell (the machine warms up)",
        drift_w_per_s=0.02,
    ),
    Scenario(
        "autocorrelated",
        "working power wanders, equal blocks correlated by 0.6",
        token_spread=0.0,
        work_correlation_s=1.5,
        work_noise=0.05,
    ),
    Scenario(
        "hidden-correlation",
        "the same under the scatter of unequal blocks, which hides it from lag 1",
        work_correlation_s=1.5,
        work_noise=0.05,
    ),
    Scenario(
        "processes",
        "five processes that differ by 3 %",
        processes=5,
        process_noise=0.03,
    ),
    Scenario(
        "wraps",
        "counter wraps every few seconds and skips updates",
        wraps_at=150_000_000,
        tick_s=0.1,
        stale_share=0.05,
    ),
    Scenario(
        "short-windows",
        "prefills of 4 updates: the phase is refused, the fit gives it",
        period_s=0.02,
        decode_tokens=150,
        requests=4,
        token_spread=0.5,
    ),
    Scenario(
        "too-short",
        "blocks of 8 updates: refused",
        period_s=0.1,
    ),
    Scenario(
        "coarse-counter",
        "NVIDIA-like total energy each 100 ms, blocks of 38 updates",
        period_s=0.1,
        decode_tokens=340,
    ),
    Scenario(
        "idle-drift",
        "idle power shifts by 10 % between the baselines",
        idle_shift_w=2.0,
    ),
    Scenario(
        "gauge-25-of-100",
        "60 ms bursts in step with a gauge that sees 25 of 100 ms",
        sensor="gauge",
        period_s=0.1,
        jitter=0.0,
        blocks=20,
        decode_tokens=240,
        idle_w=0.5,
        idle_noise_w=0.05,
        pulse_period_s=0.1,
        pulse_duty=0.6,
        tick_s=0.05,
    ),
    Scenario(
        "counter-25-of-100",
        "the same bursts with a counter of the same 100 ms",
        period_s=0.1,
        jitter=0.0,
        blocks=20,
        decode_tokens=240,
        idle_w=0.5,
        idle_noise_w=0.05,
        pulse_period_s=0.1,
        pulse_duty=0.6,
    ),
)
